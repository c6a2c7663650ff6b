"""Looks at engines, host and agent: one time for all, nobody waits for anybody, and counters go on over everything."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from agent.counts import Counts
from agent.model import Child
from agent.reporting import sampler as sampler_module
from agent.reporting.sampler import Sampler
from agent.reporting.spool import Spool
from agent.runtimes import EngineLostError

Numbers = dict[tuple[str, str, str, str], float]

AT = datetime(2026, 1, 1, 0, 0, 0, 123_456, tzinfo=UTC)


class Engine:
    """Says what it is told to, as Fluent Bit does."""

    pids = itertools.count(1)

    def __init__(self, records: int = 0) -> None:
        pid = next(self.pids)
        self.child = Child(pid=pid, start_time=pid, port=1, config="x")
        self.records, self.reloads, self.pending = records, 0, 0
        self.is_lost = False
        self.gate = asyncio.Event()
        self.gate.set()

    async def scrape(self) -> str:
        await self.gate.wait()
        if self.is_lost:
            raise EngineLostError("gone")
        return (
            f'fluentbit_hot_reloaded_times{{hostname="x"}} {self.reloads}\n'
            f'fluentbit_input_records_total{{name="dummy.0"}} {self.records}\n'
            f"fluentbit_storage_chunks {self.pending}\n"
            'fluentbit_output_errors_total{name="x} 1\n'
        )

    def reload(self) -> None:
        self.reloads, self.records = self.reloads + 1, 0


class Kit:
    """A sampler, its spool, and engines that a test changes."""

    def __init__(self, folder: Path, boot: str = "b1") -> None:
        self.engines: dict[str, Any] = {}
        self.counts = Counts()
        self.spool = Spool(folder / "spool", 1 << 20)
        self.spool.open()
        self.folder = folder
        self.sampler = Sampler(
            spool=self.spool,
            engines=lambda: self.engines,
            data=self.data,
            workloads=lambda: len(self.engines),
            counts=self.counts,
            boot=boot,
            now=lambda: AT,
        )

    def data(self, pipeline: str) -> Path:
        folder = self.folder / pipeline
        folder.mkdir(exist_ok=True)
        return folder

    async def sample(self) -> Numbers:
        await self.sampler.sample()
        return self.last()

    def last(self) -> Numbers:
        """The newest batch, by name, pipeline, plugin and kind."""
        (request,) = self.spool.read(self.spool.last - 1, most=1, size=1)
        (samples,) = request.samples
        assert samples.at == AT.replace(microsecond=123_000)
        series = {each.id: each for each in request.series}
        return {
            (series[id].name, *(series[id].tags.get(tag, "") for tag in ("pipeline", "plugin", "kind"))): value
            for id, value in zip(samples.series, samples.values, strict=True)
        }


@pytest.fixture
def kit(tmp_path: Path) -> Kit:
    return Kit(tmp_path)


def records(numbers: Mapping[Any, float], pipeline: str = "p") -> float:
    return numbers["fluentbit_input_records_total", pipeline, "dummy.0", ""]


def uncertain(numbers: Mapping[Any, float], pipeline: str = "p") -> float:
    return numbers["headrace_agent_uncertain_intervals_total", pipeline, "", ""]


async def test_everything_is_in_one_batch_under_one_time(kit: Kit) -> None:
    kit.engines = {"p": Engine(5), "q": Engine(7)}
    numbers = await kit.sample()
    assert (records(numbers), records(numbers, "q")) == (5, 7)
    assert numbers["fluentbit_storage_chunks", "p", "", ""] == 0
    assert numbers["headrace_agent_workloads", "", "", ""] == 2
    assert numbers["headrace_agent_applies_total", "", "", "failed"] == 0
    assert numbers["headrace_host_memory_total_bytes", "", "", ""] > 0
    assert kit.sampler.sampling.lines_refused == 2
    assert kit.spool.last == 1


async def test_an_engine_that_does_not_answer_holds_up_nobody(kit: Kit, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sampler_module, "DEADLINE_S", 0.2)
    monkeypatch.setattr(sampler_module, "LAST_LOOK_S", 0.1)
    stuck, lost = Engine(), Engine()
    stuck.gate.clear()
    lost.is_lost = True
    kit.engines = {"stuck": stuck, "lost": lost, "p": Engine(3)}
    numbers = await kit.sample()
    assert {key[1] for key in numbers if key[0].startswith("fluentbit_")} == {"p"}
    assert kit.sampler.sampling.failed_scrapes == 2
    await kit.sampler.last_look("stuck", stuck)
    assert kit.sampler.sampling.failed_scrapes == 3


async def test_a_reload_of_a_quiet_engine_is_exact_and_one_of_a_busy_engine_says_so(kit: Kit) -> None:
    kit.engines["p"] = engine = Engine(5)
    await kit.sample()
    await kit.sampler.last_look("p", engine)
    engine.reload()
    engine.records = 2
    numbers = await kit.sample()
    assert (records(numbers), uncertain(numbers)) == (7, 0)
    engine.records = 3
    await kit.sampler.last_look("p", engine)
    assert records(kit.last()) == 8
    engine.reload()
    numbers = await kit.sample()
    assert (records(numbers), uncertain(numbers)) == (8, 1)


async def test_a_change_that_did_not_come_about_does_not_make_a_later_end_certain(kit: Kit) -> None:
    kit.engines["p"] = engine = Engine(5)
    await kit.sample()
    await kit.sampler.last_look("p", engine)
    kit.sampler.disturb("p")
    engine.reload()
    assert uncertain(await kit.sample()) == 1


async def test_counters_go_on_in_the_next_agent_process(tmp_path: Path) -> None:
    first = Kit(tmp_path, "b1")
    first.engines["p"] = engine = Engine(5)
    first.counts.applies = 3
    await first.sample()
    engine.records = 6
    second = Kit(tmp_path, "b2")
    second.engines["p"] = engine
    second.counts.applies = 1
    numbers = await second.sample()
    assert (records(numbers), uncertain(numbers)) == (6, 0)
    assert numbers["headrace_agent_applies_total", "", "", "ok"] == 4
    second.engines["p"] = Engine(1)
    numbers = await second.sample()
    assert (records(numbers), uncertain(numbers)) == (7, 1)


async def test_a_file_that_is_no_counters_costs_what_it_held(tmp_path: Path) -> None:
    kit = Kit(tmp_path)
    (kit.data("p") / sampler_module.FILE).write_text('{"life": 1}')
    kit.engines["p"] = Engine(5)
    assert records(await kit.sample()) == 5


async def test_more_numbers_than_a_batch_holds_are_counted(kit: Kit, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sampler_module, "MAX_POINTS", 3)
    kit.engines["p"] = Engine(5)
    assert len(await kit.sample()) == 3
    assert kit.sampler.sampling.series_dropped > 10
