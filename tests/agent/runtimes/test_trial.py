"""Trial starts: what is started, what is left out, and that nothing comes of it."""

from __future__ import annotations

import asyncio
import sqlite3
from pathlib import Path

import pytest

from agent.errors import ConfigurationFault, EnvironmentFault
from agent.folders import Folder
from agent.runtimes import Launch
from agent.runtimes.fluentbit import FluentBit
from agent.runtimes.ports import free_port
from agent.runtimes.process import Process, holders
from agent.runtimes.render import render
from agent.runtimes.trial import Trial, trial_of
from headrace.config import Document, parse, substitute
from headrace.types import Engine
from tests.agent.conftest import ENVIRONMENT, config, stand_in
from tests.agent.runtimes.test_contract import real
from tests.fluent_bit import FLUENT_BIT, needs_fluent_bit
from tests.processes import eventually, processes_in

PIPELINE = """\
service:
  flush: 0.1
  log_file: /somewhere
pipeline:
  inputs:
    - name: tail
      path: '*.log'
      db: ${DB}
    - name: tail
      path: '*.log'
      db: nowhere/offsets.db
    - name: tcp
      listen: 127.0.0.1
      port: ${PORT}
    - name: syslog
      path: log.sock
    - name: exec
      command: touch ran
  filters:
    - name: grep
      match: '*'
      regex: log x
  outputs:
    - name: http
      match: '*'
      port: 1
    - name: prometheus_exporter
      match: '*'
      port: ${PORT}
    - name: s3
      match: '*'
      bucket: b
"""
VALUES = {"DB": "data/offsets.db", "PORT": "5170"}


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    folder = Folder(tmp_path / "p")
    folder.write("a" * 64, (), name="x", text="")
    return folder


def expanded(document: Document) -> Document:
    return substitute(document, VALUES, missing="empty")


def trial(folder: Folder, text: str = PIPELINE) -> Trial:
    document = parse(text)
    files = folder.revision("a" * 64)
    return trial_of(document, expanded(document), folder=folder.path, files=files, scratch=folder.trial)


def test_inputs_are_started_before_an_output_that_takes_all(folder: Folder) -> None:
    half = trial(folder).halves[0]
    assert [each.name for each in half.document.inputs] == ["tail", "tail", "tcp", "syslog"]
    assert [(each.name, each.get("match")) for each in half.document.outputs] == [("null", "*")]
    assert half.document.filters == ()


def test_filters_and_outputs_are_started_behind_an_input_that_stays_silent(folder: Folder) -> None:
    half = trial(folder).halves[1]
    assert [(each.name, each.get("interval_sec")) for each in half.document.inputs] == [("dummy", "86400")]
    assert [each.name for each in half.document.filters] == ["grep"]
    assert [each.name for each in half.document.outputs] == ["http", "prometheus_exporter"]
    assert half.document.outputs[0].get("port") == "1"


def test_each_half_has_a_port_and_a_storage_of_its_own(folder: Folder) -> None:
    halves = trial(folder).halves
    services = [half.document.service for half in halves]
    assert [service and service.get("http_port") for service in services] == [str(half.port) for half in halves]
    assert len({service and service.get("storage.path") for service in services} | {str(folder.data)}) == 3


def test_what_the_running_engine_holds_is_not_shared_with_it(folder: Folder) -> None:
    found = trial(folder)
    tail, lost, tcp, syslog = found.halves[0].document.inputs
    assert found.copies == ((folder.path / "data/offsets.db", Path(str(tail.get("db")))),)
    assert tail.get("db") != "${DB}"
    assert tcp.get("port") not in ("${PORT}", "5170")
    assert found.halves[1].document.outputs[1].get("port") not in ("${PORT}", "5170")
    assert (folder.revision("a" * 64) / str(syslog.get("path"))).resolve().parent == folder.trial.resolve()
    assert lost.get("db") == "nowhere/offsets.db"


def test_what_has_effects_by_its_mere_start_is_left_out_and_named(folder: Folder) -> None:
    assert trial(folder).left_out == (
        "input 'exec' was not tried before the change: its start has effects",
        "output 's3' was not tried before the change: its start has effects",
    )


@pytest.mark.parametrize(
    "text", ["plugins:\n  - /x.so\npipeline:\n  inputs:\n    - name: dummy\n", "[SERVICE]\n  plugins_file x\n"]
)
def test_plugins_that_nobody_knows_are_not_started(folder: Folder, text: str) -> None:
    found = trial(folder, text)
    assert found.halves == ()
    assert "it brings its own plugins" in found.left_out[0]


# With processes.

RUNTIMES = [pytest.param(stand_in, id="stand-in"), *([pytest.param(real, id="fluent-bit")] if FLUENT_BIT else [])]


@pytest.fixture(params=RUNTIMES)
async def runtime(request: pytest.FixtureRequest) -> FluentBit:
    found: FluentBit = await request.param()
    return found


async def try_out(runtime: FluentBit, folder: Folder, text: str) -> tuple[str, ...]:
    """As the agent does it; whatever comes of it, no child and no file of it is left."""
    rendered = render(parse(text), engine=Engine.FLUENT_BIT, port=free_port(), storage=str(folder.data))
    launch = Launch(
        folder=folder.path,
        config=folder.write("a" * 64, (), name=rendered.name, text=rendered.text),
        sha256=rendered.sha256,
        environment=ENVIRONMENT,
        port=0,
        log=folder.log,
        lock=folder.lock,
    )
    try:
        return await runtime.try_out(launch, rendered.document, expanded(rendered.document), scratch=folder.trial)
    finally:
        assert not folder.trial.exists()
        assert processes_in(folder.path) == []


async def test_what_can_start_passes(runtime: FluentBit, folder: Folder) -> None:
    assert await try_out(runtime, folder, config()) == ()


async def test_what_cannot_start_is_named_by_its_plugin(runtime: FluentBit, folder: Folder) -> None:
    with pytest.raises(ConfigurationFault, match="no input 'path' was given") as failed:
        await try_out(
            runtime, folder, config("a", "start").replace("name: dummy", "name: tail").replace("rate: 50", "")
        )
    assert [fault.plugin for fault in failed.value.faults] == ["tail"]


async def test_the_surroundings_are_told_apart(folder: Folder) -> None:
    with pytest.raises(EnvironmentFault, match="could not bind"):
        await try_out(await stand_in(), folder, config("a", "bind"))


async def test_a_trial_that_is_cut_short_leaves_nothing(runtime: FluentBit, folder: Folder) -> None:
    task = asyncio.create_task(try_out(runtime, folder, config("a", "mute")), name="trial")
    await eventually(lambda: task.done() or any(folder.trial.glob("*.lock")))
    task.cancel()
    await asyncio.wait((task,))
    assert not folder.trial.exists()


async def test_what_a_killed_agents_trial_left_is_ended_first(runtime: FluentBit, folder: Folder) -> None:
    folder.trial.mkdir()
    lock = folder.trial / "inputs.lock"
    stray = Process.spawn(["/bin/sleep", "60"], folder=folder.path, environment=ENVIRONMENT, log=folder.log, lock=lock)
    assert holders(lock) == (stray.pid,)
    assert await try_out(runtime, folder, config()) == ()
    assert not stray.alive


@needs_fluent_bit
class TestFluentBitItself:
    async def test_it_tries_beside_an_engine_that_holds_everything_and_nothing_comes_of_it(
        self, folder: Folder
    ) -> None:
        requests: list[bytes] = []

        async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            requests.append(await reader.read(1))
            writer.close()

        sink = await asyncio.start_server(take, "127.0.0.1", 0)
        with sqlite3.connect(folder.data / "offsets.db") as database:
            columns = "id integer primary key, name text, offset integer, inode integer, created integer"
            database.execute(f"create table in_tail_files ({columns}, rotated integer default 0)")
        database.close()
        (folder.path / "a.log").write_text("line\n" * 100)
        holder = await asyncio.start_server(take, "127.0.0.1", 0)
        port = holder.sockets[0].getsockname()[1]
        text = f"""\
pipeline:
  inputs:
    - {{name: tail, path: {folder.path}/a.log, read_from_head: on, db: data/offsets.db}}
    - {{name: http, listen: 127.0.0.1, port: {port}}}
    - {{name: exec, command: touch {folder.path}/ran}}
  filters:
    - {{name: rewrite_tag, match: '*', rule: $log ^line x true}}
  outputs:
    - {{name: http, match: '*', host: 127.0.0.1, port: {sink.sockets[0].getsockname()[1]}}}
    - {{name: file, match: '*', path: {folder.path}, file: out.log}}
"""
        try:
            before = (folder.data / "offsets.db").read_bytes()
            (note,) = await try_out(await real(), folder, text)
            assert "input 'exec' was not tried" in note
            assert requests == []
            assert not (folder.path / "out.log").exists()
            assert not (folder.path / "ran").exists()
            assert (folder.data / "offsets.db").read_bytes() == before
        finally:
            for server in (sink, holder):
                server.close()
                await server.wait_closed()

    @pytest.mark.parametrize(
        ("section", "plugin"),
        [
            ("inputs:\n    - {name: tail, path: x, db: /nonexistent/offsets.db}", "tail"),
            ("inputs:\n    - {name: syslog, mode: nonsense}", ""),
            ("filters:\n    - {name: parser, match: '*', key_name: log, parser: nosuch}", "parser"),
            ("filters:\n    - {name: grep, match: '*', regex: log (}", "grep"),
            ("outputs:\n    - {name: http, match: '*', tls: on, tls.ca_file: /nonexistent}", ""),
        ],
    )
    async def test_it_finds_what_a_dry_run_misses(self, folder: Folder, section: str, plugin: str) -> None:
        with pytest.raises(ConfigurationFault) as failed:
            await try_out(await real(), folder, f"pipeline:\n  {section}\n")
        assert plugin in [fault.plugin for fault in failed.value.faults]
