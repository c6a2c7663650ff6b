"""Every log record is accounted for: over filters that drop and emit, copies, reloads and stops; what is lost shows."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent.engine.buffer import InputBuffer
from agent.engine.exposition import as_prometheus
from tests.agent.engine.conftest import EngineKit, RunningEngine
from tests.processes import eventually

SERVICE = "    service: {flush: 0.05, grace: 1, hot_reload: on, storage.path: chunks}\n"
PIPELINE = """
    pipeline:
      inputs: [{name: tail, path: in.log, tag: t, read_from_head: true, db: off.db}]
      filters:
        - {name: grep, match: t, exclude: log drop}
        - {name: rewrite_tag, match: t, rule: $log twice other true}
        - {name: rewrite_tag, match: t, rule: $log moved other false}
      outputs:
        - {name: file, match: '*', file: out, format: plain}
"""
SECOND = "        - {name: file, match: '*', file: second, format: plain}\n"
LINES = ["drop"] * 7 + ["twice"] * 5 + ["moved"] * 3 + ["plain"] * 11
DELIVERED = 2 * 5 + 3 + 11


def write(lines: list[str]) -> None:
    with open("in.log", "a") as file:
        file.writelines(f"{line}\n" for line in lines)


def unaccounted(running: RunningEngine) -> int | None:
    """As the monitoring API tells it."""
    name = "headrace_engine_unaccounted_records"
    found = [line for line in as_prometheus(running.engine).splitlines() if line.startswith(name)]
    return int(float(found[0].split()[-1])) if found else None


async def test_what_is_filtered_emitted_copied_and_left_for_later_is_accounted_for(kit: EngineKit) -> None:
    write(LINES)
    async with kit.run(SERVICE + PIPELINE + SECOND) as running:
        assert unaccounted(running) == 0  # whatever is on its way now
        await kit.has_lines("out", DELIVERED)
        await kit.has_lines("second", DELIVERED)
        assert unaccounted(running) == 0
        # An output that cannot write: its copies wait, and stay on disk at the stop, while the other one has its own.
        Path("second").unlink()
        Path("second").mkdir()
        write(LINES)
        await kit.has_lines("out", 2 * DELIVERED)
        await eventually(lambda: running.metrics("output", "file.1").retries)
        assert unaccounted(running) == 0
    Path("second").rmdir()
    async with kit.run(SERVICE + PIPELINE + SECOND) as running:
        await kit.has_lines("second", DELIVERED)
        await eventually(lambda: unaccounted(running) == 0)
        # Without the second output, and then without any that takes the tag.
        await running.reload(SERVICE + PIPELINE)
        write(LINES)
        await kit.has_lines("out", 3 * DELIVERED)
        await running.reload(SERVICE + PIPELINE.replace("match: '*', file", "match: nothing, file"))
        write(LINES)
        await eventually(lambda: running.metrics("input", "tail.0").records == 4 * len(LINES))
        await eventually(lambda: running.engine.counters.accounts.unrouted == DELIVERED)
        assert unaccounted(running) == 0


async def test_a_record_that_gets_lost_within_shows(kit: EngineKit, monkeypatch: pytest.MonkeyPatch) -> None:
    append = InputBuffer.append

    def leak(self: InputBuffer, batch: object, *others: object, **more: object) -> None:
        monkeypatch.setattr(InputBuffer, "append", append)

    write(["a", "b", "c"])
    monkeypatch.setattr(InputBuffer, "append", leak)
    async with kit.run(SERVICE + PIPELINE) as running:
        await eventually(lambda: unaccounted(running) == 3)
        write(["d"])
        await kit.has_lines("out", 1)
        assert unaccounted(running) == 3


async def test_where_processors_of_an_input_change_records_nothing_is_told(kit: EngineKit) -> None:
    changed = PIPELINE.replace(
        "db: off.db}", "db: off.db, processors: {logs: [{name: content_modifier, action: insert, key: k, value: v}]}}"
    )
    write(["a"])
    async with kit.run(SERVICE + changed) as running:
        await kit.has_lines("out", 1)
        assert unaccounted(running) is None
        await running.reload(SERVICE + PIPELINE)
        assert unaccounted(running) is None
