"""The whole agent as a program: what went through a pipeline is what its figures say, over reloads and restarts."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from itertools import pairwise
from pathlib import Path

import pytest

from headrace.content import Content
from headrace.testing import FakeControlPlane, SeverableProxy
from headrace.testing.plane import Numbers
from headrace.types import Engine
from tests.agent.test_agent import Agents
from tests.fluent_bit import FLUENT_BIT, needs_fluent_bit
from tests.processes import eventually

pytestmark = pytest.mark.timeout(300)  # many starts of programs, on a machine that may be busy

FAST = ("--sample-interval", "1")
TAIL = """\
service:
  flush: 0.2
  grace: 2
pipeline:
  inputs:
    - name: tail
      path: {folder}/in.log
      tag: t
      db: offsets.db
      read_from_head: true
      skip_long_lines: {flag}
  filters:
    - name: record_modifier
      match: '*'
      record: version {version}
  outputs:
    - name: file
      match: '*'
      path: .
      file: out.log
"""
TAGS = (("pipeline", "p"), ("plugin", "tail.0"))
RECORDS = ("fluentbit_input_records_total", TAGS)
UNCERTAIN = ("headrace_agent_uncertain_intervals_total", (("pipeline", "p"),))
CHUNKS = ("fluentbit_storage_chunks", (("pipeline", "p"),))


@pytest.fixture
async def agents(tmp_path: Path) -> AsyncIterator[Agents]:
    async with FakeControlPlane(metrics=True) as plane:
        agents = Agents(tmp_path, plane)
        try:
            yield agents
        finally:
            await asyncio.to_thread(agents.end)


class Fed:
    """A pipeline that follows a file, and how many lines that was fed."""

    def __init__(self, agents: Agents) -> None:
        self.agents = agents
        self.count = 0
        self.version = 0

    def feed(self, lines: int) -> None:
        with (self.agents.folder / "in.log").open("a") as file:
            file.writelines(f"line {n}\n" for n in range(lines))
        self.count += lines

    def desire(self) -> int:
        self.version += 1
        flag = ("off", "on")[self.version % 2]
        text = TAIL.format(folder=self.agents.folder, flag=flag, version=self.version)
        return self.agents.plane.desire("p", Content(engine=Engine.AUTO, config=text))

    async def until_counted(self, *, times: int = 1) -> Numbers:
        """Until the last so many looks say what was fed, with nothing on its way."""

        def is_counted(numbers: Numbers) -> bool:
            counted, chunks = ordered(numbers, RECORDS), ordered(numbers, CHUNKS)
            return counted[-times:] == [self.count] * times and not any(chunks[-times:])

        return await self.agents.plane.until_numbers(is_counted, timeout=60)


def ordered(numbers: Numbers, series: tuple[str, tuple[tuple[str, str], ...]]) -> list[float]:
    return [value for _, value in sorted(numbers.get(series, {}).items())]


def last(numbers: Numbers, series: tuple[str, tuple[tuple[str, str], ...]]) -> float:
    return ordered(numbers, series)[-1]


def assert_only_growing(numbers: Numbers) -> None:
    for series in numbers:
        if series[0].endswith("_total"):
            assert all(before <= after for before, after in pairwise(ordered(numbers, series))), series


@pytest.mark.soak  # beside `tests/system/test_metrics.py`, which has the control plane in it
async def test_figures_add_up_over_five_reloads_two_restarts_and_a_kill(agents: Agents) -> None:
    program = agents.start("--engine", "embedded", *FAST)
    fed = Fed(agents)
    fed.feed(10)
    await eventually(lambda: agents.plane.agents, timeout=30)
    await agents.until_good(fed.desire())
    for change in range(5):
        fed.feed(100)  # and not waited for
        await agents.until_good(fed.desire())
        if change in (1, 3):
            program.stop()
            program = agents.start("--engine", "embedded", *FAST)
        if change == 2:
            program.kill()
            program = agents.start("--engine", "embedded", *FAST)
    numbers = await fed.until_counted()
    assert last(numbers, RECORDS) == fed.count == 510
    assert last(numbers, ("fluentbit_output_proc_records_total", (("pipeline", "p"), ("plugin", "file.0")))) == 510
    assert last(numbers, UNCERTAIN) == 0
    assert_only_growing(numbers)
    plugins = {dict(tags).get("plugin") for _, tags in numbers}
    assert plugins == {None, "tail.0", "record_modifier.0", "file.0"}


@needs_fluent_bit
async def test_figures_of_a_quiet_fluent_bit_add_up(agents: Agents) -> None:
    flags = ("--fluent-bit", FLUENT_BIT, *FAST)
    program = agents.start(*flags)
    fed = Fed(agents)
    await eventually(lambda: agents.plane.agents, timeout=30)
    fed.feed(10)
    await agents.until_good(fed.desire())
    for change in range(5):
        fed.feed(100)
        await fed.until_counted(times=3)
        await agents.until_good(fed.desire())
        if change in (1, 3):
            await fed.until_counted(times=3)
            program.stop()
            program = agents.start(*flags)
    numbers = await fed.until_counted()
    assert last(numbers, RECORDS) == fed.count == 510
    assert last(numbers, UNCERTAIN) == 0
    assert_only_growing(numbers)
    plugins = {dict(tags).get("plugin") for _, tags in numbers}
    assert plugins == {None, "tail.0", "record_modifier.0", "file.0"}  # and none that the agent's settings bring in


@needs_fluent_bit
async def test_a_busy_fluent_bit_says_what_is_uncertain(agents: Agents) -> None:
    agents.start("--fluent-bit", FLUENT_BIT, *FAST)
    await agents.until_first()
    dummy = ("fluentbit_input_records_total", (("pipeline", "p"), ("plugin", "dummy.0")))
    await agents.plane.until_numbers(lambda all: last(all, dummy) > 10 if dummy in all else False, timeout=30)
    await agents.until_good(agents.plane.desire("p", Content(engine=Engine.AUTO, config=BUSY)))
    numbers = await agents.plane.until_numbers(lambda all: last(all, UNCERTAIN) == 1, timeout=30)
    assert_only_growing(numbers)


BUSY = """\
pipeline:
  inputs:
    - name: dummy
      tag: busy
      rate: 50
  outputs:
    - name: 'null'
      match: '*'
"""


async def test_a_cut_network_costs_no_look_and_doubles_none(agents: Agents) -> None:
    async with SeverableProxy(agents.plane.address) as proxy:
        agents.start("--engine", "embedded", *FAST, server=proxy.address)
        await agents.until_first()
        load = ("headrace_host_load1", ())
        await agents.plane.until_numbers(lambda all: len(all.get(load, {})) >= 2, timeout=30)
        proxy.sever()
        spool = agents.data / "spool"
        before = sum(path.stat().st_size for path in spool.glob("*.seg"))
        await eventually(lambda: sum(path.stat().st_size for path in spool.glob("*.seg")) > before + 1000, timeout=30)
        mended = len(agents.plane.numbers()[load])
        proxy.mend()
        numbers = await agents.plane.until_numbers(lambda all: len(all[load]) >= mended + 4, timeout=60)
        # Every batch that was ever made has a number and a time; the newest number is how many there were.
        times = {at for values in numbers.values() for at in values}
        assert len(times) == agents.plane.reports[-1].sequence
