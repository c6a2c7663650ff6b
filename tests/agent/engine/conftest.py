"""What tests of the engine share: an engine in this process or in a child, plugins alone, a check on descriptors."""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import os
import sys
import textwrap
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random
from typing import Any

import pytest

from agent.engine.config import read
from agent.engine.engine import Engine, Flags
from agent.engine.logs import PluginLog
from agent.engine.parsers.table import ParserTable, build_parsers
from agent.engine.plugin import Context
from agent.engine.record import Batch, Record
from agent.engine.registry import Registry, discover
from agent.engine.remainder import Remainder
from agent.engine.resources import Resources
from headrace.config import Document, Position, Property, Section, parse
from tests.processes import Program, eventually

REPOSITORY = Path(__file__).parents[3]
EMBEDDED = [sys.executable, "-P", "-m", "agent.engine"]
NOW = 1_772_359_200_000_000_000
"""2026-03-01T10:00:00Z, the clock of pure tests."""

discover()


class RunningEngine:
    """An engine that runs in this process on a configuration file which the test may change."""

    def __init__(self, config: Path) -> None:
        self.config = config
        self.engine = Engine(Flags(config=config), rng=Random(1), environment={"HOSTNAME": "here"})
        self.remainder: Remainder | None = None
        self.started = asyncio.Event()
        self._task: asyncio.Task[Remainder] | None = None

    async def start(self) -> None:
        self._task = asyncio.create_task(self.engine.run(self.started.set), name="engine under test")
        started = asyncio.create_task(self.started.wait(), name="engine started")
        await asyncio.wait({self._task, started}, return_when=asyncio.FIRST_COMPLETED)
        started.cancel()
        if self._task.done():
            await self._task

    async def stop(self) -> Remainder:
        self.engine.stop("the test is over")
        return await self.ended()

    async def ended(self) -> Remainder:
        assert self._task is not None
        self.remainder = await self._task
        return self.remainder

    async def reload(self, text: str) -> bool:
        self.config.write_text(textwrap.dedent(text))
        return await self.engine.reload()

    def metrics(self, kind: str, name: str) -> Any:
        parts = getattr(self.engine.pipeline.parts, f"{kind}s")
        return next(part.metrics for part in parts if part.name == name)


class EngineKit:
    """Starts engines in the test's folder, which is also the working folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @asynccontextmanager
    async def run(self, text: str) -> AsyncIterator[RunningEngine]:
        config = self.folder / "pipeline.yaml"
        config.write_text(textwrap.dedent(text))
        running = RunningEngine(config)
        await running.start()
        try:
            yield running
        finally:
            if running.remainder is None:
                await running.stop()

    def child(self, text: str, *flags: str, name: str = "engine", program: Sequence[str | Path] = EMBEDDED) -> Program:
        """A process of its own that runs this configuration; `program` is another engine than the embedded one."""
        config = self.folder / "pipeline.yaml"
        config.write_text(textwrap.dedent(text))
        command = [*program, "-c", str(config), *flags]
        return Program(command, folder=self.folder, name=name, env={"PYTHONPATH": str(REPOSITORY)})

    def write(self, name: str, text: str) -> None:
        (self.folder / name).write_text(text)

    def append(self, name: str, text: str) -> None:
        with (self.folder / name).open("a") as file:
            file.write(text)

    def lines(self, name: str) -> list[str]:
        path = self.folder / name
        return path.read_text().splitlines() if path.exists() else []

    async def has_lines(self, name: str, count: int) -> list[str]:
        """Waits until the file has so many lines; gives them, also when there are more."""
        await eventually(lambda: len(self.lines(name)) >= count, what=f"{count} lines in {name}")
        return self.lines(name)


@pytest.fixture
def kit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> EngineKit:
    monkeypatch.chdir(tmp_path)
    return EngineKit(tmp_path)


@pytest.fixture(autouse=True)
def no_leaked_descriptor() -> Iterator[None]:
    """Fails the test that leaves a file, socket or database open."""
    before = descriptors()
    yield
    if descriptors() - before:
        gc.collect()
    leaked = {number: target for number, target in (descriptors() - before) if not target.startswith("/proc/")}
    assert not leaked, f"the test left descriptors open: {leaked}"


@pytest.fixture(autouse=True)
def quiet_log(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """The engine's log goes to caplog, not to handlers that an earlier test made."""
    logger = logging.getLogger("agent.engine")
    logger.addHandler(caplog.handler)
    yield
    for handler in list(logger.handlers):
        logger.removeHandler(handler)
        if handler is not caplog.handler:
            handler.close()


def descriptors() -> set[tuple[str, str]]:
    found = set()
    for number in os.listdir("/proc/self/fd"):
        try:
            found.add((number, os.readlink(f"/proc/self/fd/{number}")))
        except OSError:
            continue
    return found


class Emitted(list[Batch]):
    """An emitter that keeps what it is given, also later; `held` counts what is not released."""

    def __init__(self) -> None:
        super().__init__()
        self.held = 0

    def __call__(self, batch: Batch) -> None:
        self.append(batch)

    def hold(self) -> Emitted:
        self.held += 1
        return self

    def emit(self, batch: Batch, others: Any = ()) -> None:
        self.append(batch)

    def release(self) -> None:
        self.held -= 1


class PluginKit:
    """Makes plugin instances from properties, as the engine does, without an engine."""

    def __init__(self) -> None:
        self.stopped: list[str] = []
        self.resources = Resources()

    def document(self, text: str) -> Document:
        return parse(textwrap.dedent(text), file="test.yaml")

    def make(self, registry: Registry[Any], name: str, *, parsers: str = "", **properties: Any) -> Any:
        """An instance; property names have `__` for a dot. Raises AssertionError with the faults."""
        if registry.kind == "processor":
            here = Position("test.yaml", 1, 1)
            given = tuple(Property(key.replace("__", "."), value, here) for key, value in properties.items())
            section = Section(kind="processor", position=here, properties=given, signal="logs")
        else:
            lines = [f"      {key.replace('__', '.')}: {json.dumps(value)}" for key, value in properties.items()]
            text = "\n".join(["pipeline:", f"  {registry.kind}s:", f"    - name: '{name}'", *lines])
            section = self.document(text).sections[0]
        plugin = registry.find(name)
        found, faults = read(section, plugin.config, refused=plugin.refused)
        assert not faults, [str(fault) for fault in faults]
        return plugin.make(found[0], self.context(registry.kind, name, parsers))

    def context(self, kind: str = "filter", name: str = "test", parsers: str = "") -> Context:
        return Context(
            name=f"{name}.0",
            tag="tag",
            log=PluginLog(kind, name, f"{name}.0"),
            clock=lambda: NOW,
            stop=lambda why, code=0: self.stopped.append(why if not code else f"{why} ({code})"),
            resources=self.resources,
            parsers=self.parsers(parsers),
        )

    def parsers(self, text: str) -> ParserTable:
        """A table of parsers, from the items of a `parsers` list or from whole sections of a configuration."""
        body = textwrap.dedent(text)
        if body.lstrip().startswith("- "):
            body = "parsers:\n" + textwrap.indent(body, "  ")
        table, faults = build_parsers(self.document(body).sections if body else (), lambda: NOW)
        assert not faults, [str(fault) for fault in faults]
        return table

    def filtered(self, plugin: Any, *records: Record, tag: str = "tag") -> list[Record]:
        """What a filter makes of some records; nothing may be emitted."""
        emitted = Emitted()
        batch = Batch(tag, [NOW] * len(records), list(records))
        result = plugin.process(batch, emitted)
        assert not emitted
        assert len(result.times) == len(result.records)
        return result.records


@pytest.fixture
def plugins() -> PluginKit:
    return PluginKit()


class Sink:
    """An inlet that keeps what it is given; `take` waits for so many records."""

    is_paused = False

    def __init__(self) -> None:
        self.batches: list[Batch] = []
        self.acks: list[Any] = []
        self._grown = asyncio.Event()

    async def push(self, batch: Batch, ack: Any = None) -> None:
        self.batches.append(batch)
        self.acks.append(ack)
        self._grown.set()
        await asyncio.sleep(0)

    @property
    def records(self) -> list[Record]:
        return [record for batch in self.batches for record in batch.records]

    async def take(self, count: int) -> list[Record]:
        async with asyncio.timeout(20):
            while len(self.records) < count:
                self._grown.clear()
                await self._grown.wait()
        return self.records


@pytest.fixture
def sink() -> Sink:
    return Sink()


@asynccontextmanager
async def running_input(plugin: Any, sink: Sink) -> AsyncIterator[asyncio.Task[None]]:
    """An input that is open and reads until the block ends."""
    await plugin.open()
    task = asyncio.create_task(plugin.run(sink), name="input under test")
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.wait([task])
        await plugin.close()
        if not task.cancelled() and task.exception():
            raise task.exception()
