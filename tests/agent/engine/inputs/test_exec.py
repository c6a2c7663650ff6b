"""Commands as a source of records. Golden case `exec_oneshot` shows how lines become records."""

import asyncio
from pathlib import Path

import pytest

from agent.engine.config import InvalidProperty
from agent.engine.registry import inputs
from tests.agent.engine.conftest import EngineKit, PluginKit, Sink, running_input
from tests.agent.engine.test_command import run
from tests.processes import eventually


async def test_a_command_runs_again_and_again(plugins: PluginKit, sink: Sink) -> None:
    plugin = plugins.make(inputs, "exec", command="echo $$", interval_sec=0, interval_nsec=1000)
    async with running_input(plugin, sink):
        records = await sink.take(3)
    assert len({record["exec"] for record in records}) == len(records)


async def test_a_command_that_is_cut_off_is_ended_with_its_children(plugins: PluginKit, sink: Sink) -> None:
    command = "trap '' TERM; sleep 1000 & echo $! $$; wait"
    plugin = plugins.make(inputs, "exec", command=command, oneshot=True)
    async with running_input(plugin, sink):
        (record,) = await sink.take(1)
        pids = [int(pid) for pid in record["exec"].split()]
    await eventually(lambda: not any(is_alive(pid) for pid in pids))


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


async def test_a_line_that_the_parser_does_not_take_is_named_and_left_out(
    plugins: PluginKit, sink: Sink, caplog: pytest.LogCaptureFixture
) -> None:
    plugin = plugins.make(
        inputs, "exec", command="echo '{}'; echo no", parser="j", oneshot=True, parsers="- {name: j, format: json}"
    )
    async with running_input(plugin, sink) as task:
        await asyncio.wait([task])
    assert sink.records == [{}]
    assert "the parser does not take a line of 2 bytes" in caplog.text


@pytest.mark.parametrize(("command", "code"), [("exit 0", 0), ("exit 7", 7), ("kill -9 $$", 137), ("/not/there", 127)])
def test_the_exit_status_of_a_single_run_can_be_the_engines_own(kit: EngineKit, command: str, code: int) -> None:
    flags = ["-i", "exec", "-p", f"command={command}", "-p", "exit_after_oneshot=on", "-o", "null", "-m", "*"]
    assert run("-q", *flags, "-o", "null", folder=kit.folder).returncode == 0
    assert run("-q", *flags[:6], "-p", "propagate_exit_code=on", *flags[6:], folder=kit.folder).returncode == code


def test_an_exit_status_without_an_exit_is_refused(plugins: PluginKit) -> None:
    with pytest.raises(InvalidProperty, match="makes no sense without exit_after_oneshot"):
        plugins.make(inputs, "exec", command="x", propagate_exit_code=True)
