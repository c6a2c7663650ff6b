"""Changes in a row on real processes: the newest good one runs, every failure is named, and nothing is lost or left.

On a stand-in that has Fluent Bit's faults, always; on the real Fluent Bit, under load, where there is one. The long
courses are soak tests.
"""

from __future__ import annotations

import asyncio
import re
import socket
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from random import Random

import pytest

from agent.host import Host
from agent.model import Record, Target
from agent.runtimes.base import Deadlines
from agent.runtimes.fluentbit import FluentBit
from agent.runtimes.process import holders
from agent.workload import Workload
from headrace.types import AttemptState, Engine, Health
from tests.agent.conftest import DEADLINES, ENVIRONMENT, STAND_IN_COMMAND, MakeHost, blob, config, content
from tests.fluent_bit import FLUENT_BIT, needs_fluent_bit
from tests.processes import eventually, processes_in

STAND_IN_KINDS = {
    **dict.fromkeys(("plugin", "start", "crash"), False),
    **dict.fromkeys(("good", "fine", "late", "swallow", "wedge", "stubborn", "disabled"), True),
}
"""Faults of the stand-in, and whether a content that has one runs in the end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """A sort of change: what it adds to the pipeline, and what is at fault where it cannot run."""

    inputs: str = ""
    filters: str = ""
    outputs: str = ""
    culprit: str = ""


DEAD = "host: 127.0.0.1, port: 1, retry_limit: no_limits"
REAL_KINDS = {
    "good": Kind(),
    "filter": Kind(filters="{name: modify, match: '*', add: generation GENERATION}"),
    "input": Kind(inputs="{name: cpu, tag: cpu, interval_sec: 1}"),
    "down": Kind(outputs=f"{{name: http, match: lines, {DEAD}}}"),
    "wedging": Kind(
        inputs="{name: dummy, tag: wedge, rate: 20, storage.type: memory}",
        outputs=f"{{name: http, match: wedge, {DEAD}}}",
    ),
    "parse": Kind(outputs="{name: nosuch, match: '*'}", culprit="nosuch"),
    "property": Kind(outputs="{name: 'null', match: '*', nosuch: 1}", culprit="null"),
    "path": Kind(inputs="{name: tail, tag: other}", culprit="tail"),
    "database": Kind(inputs="{name: tail, tag: other, path: x, db: /nonexistent/x.db}", culprit="tail"),
    "regex": Kind(filters="{name: grep, match: '*', regex: log (}", culprit="grep"),
    "taken": Kind(inputs="{name: http, tag: other, listen: 127.0.0.1, port: TAKEN}", culprit="http"),
}
PIPELINE = """\
service: {flush: 0.2, grace: 1}
pipeline:
  inputs:
    - {name: tail, tag: lines, path: SOURCE, db: data/offsets.db, read_from_head: on, refresh_interval: 1}
  filters:
    - {name: record_modifier, match: lines, record: generation GENERATION}
  outputs:
    - {name: file, match: lines, path: ., file: out.log}
"""


def test_every_kind_of_change_has_an_outcome() -> None:
    assert {bool(kind.culprit) for kind in REAL_KINDS.values()} == set(STAND_IN_KINDS.values()) == {False, True}


@dataclass(slots=True, kw_only=True)
class Course:
    """One workload that goes through changes of these kinds; `is_good` says which of them run in the end."""

    workload: Workload
    host: Host
    dice: Random
    is_good: Mapping[str, bool]
    kinds: dict[int, str] = field(default_factory=dict)
    good: int = 0

    @property
    def generation(self) -> int:
        return len(self.kinds)

    async def run(self, changes: int, text: Mapping[str, str]) -> None:
        """So many changes; the first and the last one are good."""
        for number in range(1, changes + 1):
            is_end = number in (1, changes)
            kind = "good" if is_end else self.dice.choice(tuple(self.is_good))
            self.want(kind, text[kind])
            if self.dice.random() < 0.2 and not is_end:
                continue  # The next one comes at once.
            if self.is_good[kind]:
                self.good = self.generation
            await eventually(
                lambda kind=kind: self.is_settled(kind),  # type: ignore[misc]
                timeout=60,
                what=f"generation {self.generation} ({kind}) is dealt with",
            )
            assert len(holders(self.host.folder("p").lock)) == 1
        assert self.good == self.generation

    def want(self, kind: str, text: str) -> None:
        self.kinds[self.generation + 1] = kind
        sha256, data = blob(content(text=text.replace("GENERATION", str(self.generation))))
        self.host.state.save_blob(sha256, data)
        self.workload.want(Target(self.generation, sha256))

    def is_settled(self, kind: str) -> bool:
        """Whether the newest change has its outcome, and the newest good one runs and is well."""
        observed = self.workload.observed()
        attempt, running = observed.attempt, observed.running
        assert attempt is not None
        if attempt.generation != self.generation or running is None or running.health is not Health.HEALTHY:
            return False
        if self.is_good[kind]:
            return attempt.state is AttemptState.OK and observed.good == running.generation == self.generation
        if attempt.state is not AttemptState.FAILED or running.generation >= self.generation:
            return False
        assert attempt.faults
        if kind in REAL_KINDS:
            assert REAL_KINDS[kind].culprit in {fault.plugin for fault in attempt.faults}, (kind, attempt.faults)
        # At least the last good one that was waited for: those that nobody waited for may have become good or not.
        assert running.generation >= self.good
        assert self.is_good[self.kinds[running.generation]]
        return True


@asynccontextmanager
async def a_course(
    make_host: MakeHost, runtime: FluentBit, is_good: Mapping[str, bool], seed: int
) -> AsyncIterator[Course]:
    """On a host of its own; nothing of it is left at the end."""
    host = make_host({Engine.FLUENT_BIT: runtime})
    workload = Workload(Record(pipeline="p"), host, lambda pipeline: None)
    task = asyncio.create_task(workload.run(), name="workload")
    try:
        yield Course(workload=workload, host=host, dice=Random(seed), is_good=is_good)
    finally:
        task.cancel()
        await asyncio.wait((task,))
        await workload.shut_down()
        assert processes_in(host.folder("p").path) == []


async def on_the_stand_in(make_host: MakeHost, changes: int, seed: int) -> None:
    deadlines = replace(DEADLINES, reload=0.5, stop=0.1)
    runtime = await FluentBit.find(Engine.FLUENT_BIT, STAND_IN_COMMAND, environment=ENVIRONMENT, deadlines=deadlines)
    text = {kind: config("mGENERATION", kind) for kind in STAND_IN_KINDS}
    async with a_course(make_host, runtime, STAND_IN_KINDS, seed) as course:
        await course.run(changes, text)


async def on_fluent_bit(make_host: MakeHost, folder: Path, changes: int, seed: int) -> None:
    deadlines = Deadlines(reload=4.0, stop=1.0)
    runtime = await FluentBit.find(Engine.FLUENT_BIT, [FLUENT_BIT], environment=ENVIRONMENT, deadlines=deadlines)
    source = folder / "source.log"
    is_good = {kind: not each.culprit for kind, each in REAL_KINDS.items()}
    with a_taken_port() as port:
        text = {kind: pipeline(each, source, port) for kind, each in REAL_KINDS.items()}
        async with a_course(make_host, runtime, is_good, seed) as course, written_to(source) as written:
            out = course.host.folder("p").path / "out.log"
            await course.run(changes, text)
            written.is_over.set()
            try:
                await eventually(lambda: not missing(out, written.lines), timeout=60)
            except AssertionError:
                assert missing(out, written.lines) == set()
    assert written.lines > 100


def pipeline(kind: Kind, source: Path, port: int) -> str:
    text = PIPELINE.replace("SOURCE", f"{source}*")
    for name in ("inputs", "filters", "outputs"):
        if added := getattr(kind, name):
            text = text.replace(f"  {name}:\n", f"  {name}:\n    - {added}\n")
    return text.replace("TAKEN", str(port))


def missing(out: Path, lines: int) -> set[int]:
    """Numbers of the source that are not in the output."""
    found = re.findall(r'"log":"(\d+)"', out.read_text()) if out.exists() else []
    return set(range(lines)) - set(map(int, found))


@dataclass(slots=True)
class Written:
    is_over: asyncio.Event
    lines: int = 0


@asynccontextmanager
async def written_to(source: Path) -> AsyncIterator[Written]:
    """A program that numbers the lines of its log, some hundred a second, until it is over; rotates it now and then."""
    written = Written(asyncio.Event())

    async def write() -> None:
        rotations = 0
        while not written.is_over.is_set():
            with source.open("a") as file:
                for _ in range(10):
                    file.write(f"{written.lines}\n")
                    written.lines += 1
            if written.lines // 2000 > rotations:
                rotations += 1
                source.rename(f"{source}.{rotations}")
            try:
                async with asyncio.timeout(0.03):
                    await written.is_over.wait()
            except TimeoutError:
                pass

    task = asyncio.create_task(write(), name="writer")
    try:
        yield written
    finally:
        written.is_over.set()
        await task


@contextmanager
def a_taken_port() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as holder:
        yield holder.getsockname()[1]


@pytest.mark.parametrize("seed", range(3))
async def test_a_course_on_the_stand_in_ends_on_the_newest_good_one(make_host: MakeHost, seed: int) -> None:
    await on_the_stand_in(make_host, 9, seed)


@needs_fluent_bit
async def test_a_course_on_fluent_bit_loses_nothing(make_host: MakeHost, tmp_path: Path) -> None:
    await on_fluent_bit(make_host, tmp_path, 12, seed=1)


@pytest.mark.soak
@pytest.mark.timeout(1800)
async def test_two_hundred_changes_on_the_stand_in_end_on_the_newest_good_one(make_host: MakeHost) -> None:
    await on_the_stand_in(make_host, 200, seed=0)


@pytest.mark.soak
@pytest.mark.timeout(3600)
@needs_fluent_bit
async def test_two_hundred_changes_on_fluent_bit_lose_nothing(make_host: MakeHost, tmp_path: Path) -> None:
    await on_fluent_bit(make_host, tmp_path, 200, seed=0)
