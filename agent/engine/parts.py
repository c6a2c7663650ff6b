"""The parts of a pipeline: plugin instances, with what the engine keeps for each.

`matches` decides whether a part that already runs can go on under another configuration.
"""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Generic, TypeVar

from agent.engine.buffer import InputBuffer
from agent.engine.condition import Condition
from agent.engine.delivery import Delivery
from agent.engine.line import Line
from agent.engine.metrics import FilterMetrics, Flow, InputMetrics, OutputMetrics
from agent.engine.parsers.table import ParserTable
from agent.engine.plugin import Context, Filter, Input, InputSettings, Output, OutputSettings, Prepares, Wait
from agent.engine.record import Batch, Signal
from agent.engine.service import Service
from headrace.config import Section

Plugin = TypeVar("Plugin")


@dataclass(slots=True, kw_only=True, eq=False)
class Part(Generic[Plugin]):
    """One plugin instance, whatever its kind; `section` is what it was built from."""

    name: str
    section: Section
    plugin: Plugin
    context: Context
    is_open: bool = False

    def matches(self, section: Section, parsers: ParserTable, service: Service, variables: Mapping[str, str]) -> bool:
        """Whether a new configuration would build the same instance."""
        old = self.context.parsers
        return (
            self.section == section
            and self.context.escape_unicode == service.escape_unicode
            and self.context.multiline_limit == service.multiline_buffer_limit
            and all(old.definitions(name) == parsers.definitions(name) for name in self.context.parsers_used)
            and all(_holds(path, text) for path, text in self.context.files_used.items())
            and self.context.variables_used in ({}, variables)
        )


def _holds(path: Path, text: str) -> bool:
    try:
        return path.read_text(encoding="utf-8") == text
    except (OSError, UnicodeDecodeError):
        return False


@dataclass(slots=True, kw_only=True, eq=False)
class FilterPart(Part[Filter]):
    takes: Callable[[str], bool]
    condition: Condition | None = None
    metrics: FilterMetrics = field(default_factory=FilterMetrics)
    prepare: Callable[[Batch], Wait | None] | None = None

    def __post_init__(self) -> None:
        if isinstance(self.plugin, Prepares):
            self.prepare = self.plugin.prepare


@dataclass(slots=True, kw_only=True, eq=False)
class InputPart(Part[Input]):
    settings: InputSettings
    durable: bool
    processors: tuple[FilterPart, ...] = ()
    metrics: InputMetrics = field(default_factory=InputMetrics)
    buffer: InputBuffer | None = None
    line: Line | None = None
    task: asyncio.Task[None] | None = None


@dataclass(slots=True, kw_only=True, eq=False)
class OutputPart(Part[Output]):
    settings: OutputSettings
    takes: Callable[[str], bool]
    retry_limit: int
    signals: frozenset[Signal]
    processors: tuple[FilterPart, ...] = ()
    metrics: OutputMetrics = field(default_factory=OutputMetrics)
    flows: dict[str, Flow] = field(default_factory=dict)
    delivery: Delivery | None = None
    tasks: list[asyncio.Task[None]] = field(default_factory=list)


AnyPart = InputPart | FilterPart | OutputPart


@dataclass(slots=True)
class Parts:
    """All parts of one pipeline in the order of the configuration."""

    inputs: list[InputPart] = field(default_factory=list)
    filters: list[FilterPart] = field(default_factory=list)
    outputs: list[OutputPart] = field(default_factory=list)

    def all(self) -> list[AnyPart]:
        """Every instance, also the processors of inputs and outputs."""
        ends: list[InputPart | OutputPart] = [*self.inputs, *self.outputs]
        processors = [processor for part in ends for processor in part.processors]
        return [*self.inputs, *processors, *self.filters, *self.outputs]
