"""Counters of instances outlive reloads and orderly stops; what a kill cost them is seen by their name."""

from pathlib import Path

import pytest

from tests.agent.engine.conftest import EngineKit, RunningEngine
from tests.processes import eventually

CONFIG = """
    service: {{flush: 0.05, grace: 2, hot_reload: on, storage.path: chunks}}
    pipeline:
      inputs: [{{name: tail, path: in.log, tag: t, read_from_head: true, db: off.db, skip_long_lines: {skip}}}]
      filters: [{{name: record_modifier, match: '*', record: version {version}}}]
      outputs: [{{name: file, match: '*', file: out, format: plain, mkdir: {mkdir}}}]
"""


def config(version: int = 1) -> str:
    """Every instance is another one with every version."""
    flag = ("off", "on")[version % 2]
    return CONFIG.format(version=version, skip=flag, mkdir=flag)


def append(count: int) -> None:
    with open("in.log", "a") as file:
        file.writelines(f"{n}\n" for n in range(count))


def counts(running: RunningEngine) -> tuple[int, ...]:
    parts = running.metrics
    delivered = sum(flow.records for flow in running.engine.counters._flows["file.0"].values())
    return (
        parts("input", "tail.0").records,
        parts("filter", "record_modifier.0").records,
        parts("output", "file.0").proc_records,
        delivered,
    )


async def test_five_reloads_and_two_restarts_count_every_record_once(kit: EngineKit) -> None:
    total, names = 0, set()
    for start in range(3):
        async with kit.run(config(start)) as running:
            for version in range(start + 1, start + 3):
                append(100)
                total += 100
                await kit.has_lines("out", total)
                await running.reload(config(version))
            append(10)
            total += 10
            await eventually(lambda running=running, total=total: counts(running) == (total,) * 4)
            names.add(running.engine.counters.id)
            assert not Path("chunks/counters.json").exists()
    assert len(names) == 1


async def test_an_instance_that_comes_back_goes_on_counting(kit: EngineKit) -> None:
    append(5)
    async with kit.run(config()) as running:
        await kit.has_lines("out", 5)
        await running.reload(config().replace("name: record_modifier, match: '*', record: version 1", "name: grep"))
        await running.reload(config(2))
        append(5)
        await eventually(lambda: counts(running) == (10,) * 4)


@pytest.mark.parametrize("left", [None, b"", b"[]", b'{"id": "x"}', b'{"id": "x", "metrics": [["input", "a", {}, 1]]}'])
async def test_counters_that_are_lost_begin_anew_under_another_name(kit: EngineKit, left: bytes | None) -> None:
    append(5)
    async with kit.run(config()) as running:
        await kit.has_lines("out", 5)
        name = running.engine.counters.id
    if left is None:
        Path("chunks/counters.json").unlink()
    else:
        Path("chunks/counters.json").write_bytes(left)
    async with kit.run(config()) as running:
        append(1)
        await eventually(lambda: counts(running) == (1,) * 4)
        assert running.engine.counters.id != name
        assert not Path("chunks/counters.json").exists()
