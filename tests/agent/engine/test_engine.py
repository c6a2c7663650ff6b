"""The engine as a whole, in this process: flow, reload, stop."""

import asyncio
import os
from pathlib import Path

import pytest

from agent.engine.filters.record_modifier import RecordModifier
from agent.engine.plugin import PluginError
from headrace.config import ConfigError
from tests.agent.engine.conftest import EngineKit
from tests.processes import eventually

TAIL_TO_FILE = """
    service: {{flush: 0.05, grace: 2, hot_reload: on}}
    pipeline:
      inputs:
        - {{name: tail, path: in.log, tag: t, read_from_head: true, db: off.db{tail}}}
      filters:
        - {{name: record_modifier, match: '*', record: version {version}}}
      outputs:
        - {{name: file, match: '*', file: out, format: plain{output}}}
"""


def config(version: int = 1, tail: str = "", output: str = "") -> str:
    return TAIL_TO_FILE.format(version=version, tail=tail, output=output)


def append(name: str, *lines: object) -> None:
    with open(name, "a") as file:
        file.writelines(f"{line}\n" for line in lines)


async def test_two_outputs_of_one_tag_each_get_every_record(kit: EngineKit) -> None:
    text = """
        service: {flush: 0.05}
        pipeline:
          inputs: [{name: dummy, tag: a.b, samples: 20, rate: 1000}]
          outputs:
            - {name: file, match: 'a.*', file: one, format: plain}
            - {name: file, match_regex: '^a', file: two, format: plain}
            - {name: file, match: 'other', file: three, format: plain}
    """
    async with kit.run(text):
        await kit.has_lines("one", 20)
        await kit.has_lines("two", 20)
    assert len(kit.lines("one")) == len(kit.lines("two")) == 20
    assert not Path("three").exists()


async def test_a_lone_output_without_match_takes_everything(kit: EngineKit) -> None:
    text = "pipeline: {inputs: [{name: dummy, samples: 1, rate: 100}], outputs: [{name: file, file: out}]}"
    async with kit.run(text) as running:
        await eventually(lambda: running.metrics("input", "dummy.0").records == 1)
        assert not await running.stop()
    assert len(kit.lines("out")) == 1


async def test_a_stop_delivers_what_has_gathered(kit: EngineKit) -> None:
    append("in.log", *range(1000))
    async with kit.run(config().replace("flush: 0.05", "flush: 60")) as running:
        await eventually(lambda: running.metrics("input", "tail.0").records == 1000)
        assert not kit.lines("out")
        assert not await running.stop()
    assert len(kit.lines("out")) == 1000


async def test_a_restart_neither_loses_nor_doubles(kit: EngineKit) -> None:
    for start in range(0, 300, 100):
        append("in.log", *range(start, start + 100))
        async with kit.run(config()):
            await kit.has_lines("out", start + 100)
    assert len(set(kit.lines("out"))) == len(kit.lines("out")) == 300


async def test_a_reload_keeps_what_is_unchanged(kit: EngineKit) -> None:
    append("in.log", 1)
    async with kit.run(config(1)) as running:
        await kit.has_lines("out", 1)
        parts = running.engine.pipeline.parts
        before = (parts.inputs[0], parts.outputs[0], parts.filters[0])
        task = parts.inputs[0].task
        assert await running.reload(config(2))
        parts = running.engine.pipeline.parts
        assert (parts.inputs[0], parts.outputs[0]) == before[:2]
        assert parts.inputs[0].task is task
        assert parts.filters[0] is not before[2]
        append("in.log", 2)
        await kit.has_lines("out", 2)
        assert running.metrics("input", "tail.0").records == 2
        assert running.engine.reloads.count == 1
    assert kit.lines("out") == ['{"log":"1","version":"1"}', '{"log":"2","version":"2"}']


async def test_twenty_reloads_under_load_lose_and_double_nothing(kit: EngineKit) -> None:
    """Each reload changes the filter, every second one the tail, every third one the output, all on one file."""
    written = 0

    async def write() -> None:
        nonlocal written
        while True:
            append("in.log", *range(written, written + 50))
            written += 50
            if written % 1000 == 0:
                os.rename("in.log", f"in.log.{written}")
            await asyncio.sleep(0.002)

    async with kit.run(config()) as running:
        writer = asyncio.create_task(write(), name="writer")
        for number in range(20):
            tail = f", buffer_max_size: {40_000 + number // 2}"
            output = f", workers: {number // 3 + 1}"
            assert await running.reload(config(number, tail, output)), running.engine.reloads.error
            target = written + 200
            await eventually(lambda target=target: written >= target)
        writer.cancel()
        await asyncio.wait([writer])
        total = written
        await kit.has_lines("out", total)
        assert not await running.stop()
    numbers = sorted(int(line.split('"')[3]) for line in kit.lines("out"))
    assert numbers == list(range(total))


@pytest.mark.parametrize(
    ("broken", "why"),
    [
        ("pipeline: {inputs: [", "pipeline.yaml:"),
        (
            config().replace("name: tail", "name: tial"),
            "input 'tial' is not known to the embedded engine; did you mean 'tail'?",
        ),
        (config().replace("path: in.log", "pth: in.log"), "unknown property 'pth'"),
        (config(tail=", parser: none"), "parser 'none' is not defined"),
        (config().replace("off.db", "missing/off.db"), "offset database 'missing/off.db' cannot be opened"),
        (config().replace("flush: 0.05", "flush: 0"), "service: property 'flush'"),
    ],
)
async def test_a_configuration_that_fails_at_any_stage_leaves_the_old_one_running(
    kit: EngineKit, broken: str, why: str
) -> None:
    append("in.log", 1)
    async with kit.run(config()) as running:
        await kit.has_lines("out", 1)
        digest, parts = running.engine.sha256, running.engine.pipeline.parts
        assert not await running.reload(broken)
        assert running.engine.reloads.result == "refused"
        assert why in running.engine.reloads.error
        assert running.engine.sha256 == digest
        assert running.engine.pipeline.parts is parts
        append("in.log", 2)
        await kit.has_lines("out", 2)
        assert await running.reload(config(3)), "and a good one is taken afterwards"
        assert running.engine.reloads.error == ""


async def test_a_changed_output_takes_over_what_its_predecessor_could_not_deliver(kit: EngineKit) -> None:
    append("in.log", *range(100))
    away = config(output=", path: missing, retry_limit: no_limits")
    async with kit.run(away) as running:
        await eventually(lambda: running.metrics("output", "file.0").retries >= 1)
        assert await running.reload(config())
        await kit.has_lines("out", 100)
        assert not await running.stop()
    assert len(kit.lines("out")) == 100


async def test_an_output_that_is_gone_drops_what_it_could_not_deliver_and_says_so(
    kit: EngineKit, caplog: pytest.LogCaptureFixture
) -> None:
    append("in.log", *range(10))
    both = (
        config().rstrip() + "\n        - {name: file, alias: away, match: '*', path: missing, retry_limit: no_limits}\n"
    )
    async with kit.run(both.replace("grace: 2", "grace: 0")) as running:
        await eventually(lambda: running.metrics("output", "away").retries >= 1)
        assert await running.reload(config().replace("grace: 2", "grace: 0"))
        await eventually(lambda: not running.engine.pipeline.retiring)
        assert not await running.stop()
    assert "10 undelivered records are dropped" in caplog.text


async def test_a_removed_input_ends_and_an_added_one_starts(kit: EngineKit) -> None:
    append("in.log", "from the file")
    async with kit.run(config()) as running:
        await kit.has_lines("out", 1)
        dummy = '- {name: dummy, tag: d, rate: 1000, samples: 1, dummy: \'{"log":"from the dummy"}\'}'
        text = config()
        start, end = text.index("- {name: tail"), text.index("}", text.index("- {name: tail")) + 1
        assert await running.reload(text[:start] + dummy + text[end:])
        await kit.has_lines("out", 2)
        append("in.log", "nobody reads this")
        await eventually(lambda: not running.engine.pipeline.retiring)
        assert [part.name for part in running.engine.pipeline.parts.inputs] == ["dummy.0"]
    assert [line.split('"')[3] for line in kit.lines("out")] == ["from the file", "from the dummy"]


async def test_a_stop_does_not_wait_for_a_removed_input_whose_records_cannot_be_delivered(kit: EngineKit) -> None:
    append("in.log", 1, 2, 3)
    away = config(output=", path: missing, retry_limit: no_limits").replace("grace: 2", "grace: 0")
    async with kit.run(away) as running:
        await eventually(lambda: running.metrics("output", "file.0").retries >= 1)
        assert await running.reload(away.replace("name: tail, path: in.log", "name: tail, path: other.log"))
        assert [part.name for part in running.engine.pipeline.retiring] == ["tail.0"]
        remainder = await running.stop()
    assert remainder.replayable == 3


async def test_a_stop_waits_for_a_reload_that_is_under_way(kit: EngineKit, monkeypatch: pytest.MonkeyPatch) -> None:
    gate = asyncio.Event()

    async def slow_open(self: RecordModifier) -> None:
        await gate.wait()

    async with kit.run(config(1)) as running:
        monkeypatch.setattr(RecordModifier, "open", slow_open)
        reload = asyncio.create_task(running.reload(config(2)), name="reload")
        await eventually(lambda: running.engine.is_reloading)
        stop = asyncio.create_task(running.stop(), name="stop")
        await asyncio.sleep(0)
        assert not stop.done()
        gate.set()
        assert await reload
        assert not await stop
        assert running.engine.is_reloading, "and none comes after it"


async def test_an_input_pauses_while_too_much_waits_and_goes_on_later(kit: EngineKit) -> None:
    append("in.log", *("x" * 100 for _ in range(20_000)))
    text = config(tail=", mem_buf_limit: 300k", output=", path: sub, retry_limit: no_limits")
    text = text.replace("hot_reload: on", "scheduler.base: 1, scheduler.cap: 1")
    async with kit.run(text) as running:
        buffer = running.engine.pipeline.parts.inputs[0].buffer
        await eventually(lambda: buffer.paused)
        assert buffer.memory < 300_000 + 2 * 262_144
        Path("sub").mkdir()
        await kit.has_lines("sub/out", 20_000)
        assert not buffer.paused
    assert len(kit.lines("sub/out")) == 20_000


async def test_what_a_stop_cannot_deliver_is_on_disk_and_delivered_by_the_next_start(kit: EngineKit) -> None:
    text = """
        service: {flush: 0.05, grace: 0, storage.path: store}
        pipeline:
          inputs: [{name: dummy, samples: 5, rate: 1000, tag: d}]
          outputs:
            - {name: file, match: '*', file: good, format: plain}
            - {name: file, match: '*', path: sub, file: late, format: plain, retry_limit: no_limits}
    """
    async with kit.run(text) as running:
        await kit.has_lines("good", 5)
        await eventually(lambda: running.metrics("output", "file.1").retries >= 1)
        remainder = await running.stop()
    assert (remainder.kept, remainder.lost, remainder.replayable) == (5, 0, 0)
    Path("sub").mkdir()
    async with kit.run(text.replace("samples: 5", "samples: 1")):
        await kit.has_lines("sub/late", 6)
        await kit.has_lines("good", 6)
    assert len(kit.lines("good")) == 6, "the output that had them does not get them again"
    assert not list(Path("store").rglob("*.jsonl"))


async def test_without_storage_the_rest_is_read_again_or_lost_and_the_stop_says_which(kit: EngineKit) -> None:
    append("in.log", 1, 2)
    text = config(output=", path: sub, retry_limit: no_limits").replace("grace: 2", "grace: 0")
    text = text.replace("      filters:", "        - {name: dummy, samples: 1, rate: 1000}\n      filters:")
    async with kit.run(text) as running:
        await eventually(lambda: running.metrics("output", "file.0").retried_records == 3)
        remainder = await running.stop()
    assert (remainder.kept, remainder.replayable, remainder.lost) == (0, 2, 1)
    assert "set 'storage.path'" in str(remainder)
    Path("sub").mkdir()
    async with kit.run(config(output=", path: sub")):
        await kit.has_lines("sub/out", 2)


async def test_a_damaged_chunk_is_left_alone_and_the_others_are_delivered(
    kit: EngineKit, caplog: pytest.LogCaptureFixture
) -> None:
    Path("store/d").mkdir(parents=True)
    Path("store/d/00000000000000000001.jsonl").write_text("no chunk\n")
    Path("store/d/00000000000000000002.jsonl").write_text('{"tag":"d"}\n[[1],[{"a":1}],null,5]\n[[2],[{"cut')
    Path("store/d/00000000000000000003.jsonl").write_text('{"tag":"nobody"}\n[[1],[{"a":3}],null,5]\n')
    text = """
        service: {flush: 0.05, storage.path: store}
        pipeline:
          inputs: [{name: dummy, samples: 1, rate: 1, tag: x}]
          outputs: [{name: file, match: d, file: out, format: plain}]
    """
    async with kit.run(text):
        await kit.has_lines("out", 1)
    assert kit.lines("out") == ['{"a":1}']
    assert "00000000000000000001.jsonl is not a whole chunk" in caplog.text
    assert "no output takes tag 'nobody'; left on disk" in caplog.text
    assert Path("store/d/00000000000000000003.jsonl").exists()


async def test_a_chunk_that_every_output_has_is_not_delivered_again(kit: EngineKit) -> None:
    Path("store/d").mkdir(parents=True)
    chunk = Path("store/d/00000000000000000001.jsonl")
    chunk.write_text('{"tag":"d"}\n[[1],[{"a":1}],null,5]\n{"done":"file.0"}\n')
    text = """
        service: {flush: 0.05, storage.path: store}
        pipeline:
          inputs: [{name: dummy, samples: 1, rate: 1000, tag: d}]
          outputs: [{name: file, match: d, file: out, format: plain}]
    """
    async with kit.run(text):
        await kit.has_lines("out", 1)
        assert not chunk.exists()
    assert kit.lines("out") == ['{"message":"dummy"}']


async def test_a_configuration_that_cannot_start_is_an_error_and_leaves_nothing_open(kit: EngineKit) -> None:
    with pytest.raises(PluginError, match=r"pipeline\.yaml:.*input 'tail.0' cannot start: offset database"):
        async with kit.run(config().replace("off.db", "missing/off.db")):
            pass
    with pytest.raises(ConfigError):
        async with kit.run(config().replace("name: tail", "name: tial")):
            pass


async def test_a_port_that_is_taken_fails_the_start_and_the_reload(kit: EngineKit) -> None:
    listener = await asyncio.start_server(lambda _reader, writer: writer.close(), "127.0.0.1", 0)
    port = listener.sockets[0].getsockname()[1]
    http = f"http_server: on, http_listen: 127.0.0.1, http_port: {port}, flush: 0.05"
    with pytest.raises(PluginError, match=f"cannot listen on 127.0.0.1:{port}"):
        async with kit.run(config().replace("flush: 0.05", http)):
            pass
    async with kit.run(config()) as running:
        assert not await running.reload(config().replace("flush: 0.05", http))
        assert f"cannot listen on 127.0.0.1:{port}" in running.engine.reloads.error
        append("in.log", 1)
        await kit.has_lines("out", 1)
    listener.close()


async def test_a_part_that_fails_stops_the_engine_in_order_and_is_named(
    kit: EngineKit, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from agent.engine.inputs.dummy import Dummy

    async def broken(self: Dummy, inlet: object) -> None:
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr(Dummy, "run", broken)
    text = "pipeline: {inputs: [{name: dummy}], outputs: [{name: 'null', match: '*'}]}"
    async with kit.run(text) as running:
        with pytest.raises(RuntimeError, match=r"input dummy\.0 failed: a bug"):
            await running.ended()
        running.remainder = running.remainder or object()  # type: ignore[assignment]  # it has ended already


async def test_records_of_an_input_that_is_not_routable_go_nowhere(kit: EngineKit) -> None:
    text = """
        service: {flush: 0.05}
        pipeline:
          inputs:
            - {name: dummy, tag: a, samples: 3, rate: 1000, routable: false}
            - {name: dummy, tag: b, samples: 1, rate: 1000}
          outputs: [{name: file, match: '*', file: out, format: out_file}]
    """
    async with kit.run(text) as running:
        await kit.has_lines("out", 1)
        await eventually(lambda: running.metrics("input", "dummy.0").records == 3)
    assert [line.split(":")[0] for line in kit.lines("out")] == ["b"]


async def test_filters_run_as_processors_of_an_input(kit: EngineKit) -> None:
    text = """
        service: {flush: 0.05}
        pipeline:
          inputs:
            - name: dummy
              tag: a
              samples: 1
              rate: 1000
              processors:
                logs:
                  - {name: modify, set: [a 1, b 2]}
                  - {name: modify, remove: a}
          outputs: [{name: file, match: '*', file: out, format: plain}]
    """
    async with kit.run(text):
        await kit.has_lines("out", 1)
    assert kit.lines("out") == ['{"message":"dummy","b":"2"}']
