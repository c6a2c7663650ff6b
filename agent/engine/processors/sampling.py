"""Processor `sampling`: keeps some traces. Type `probabilistic` decides by the trace's id alone, `tail` when it has had
the time to become whole.

`tail` keeps spans back for `decision_wait`; then the trace goes on if one of its spans meets one of the conditions (or
there are none), under the tag of the input, and else it is dropped. A stop decides at once.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeVar

from agent.engine.config import BOOLEAN, INTEGER, STRING, TIME, VARIANT, InvalidProperty, option, read
from agent.engine.plugin import Context, Emit
from agent.engine.record import Batch, Record
from agent.engine.registry import processors
from agent.engine.span_conditions import span_conditions
from agent.engine.tail_sampling import TailSampling
from headrace.config import Position, Property, Section, Value

Settings = TypeVar("Settings")


@dataclass(frozen=True, slots=True, kw_only=True)
class SamplingConfig:
    """What the sampling processor takes."""

    type: str = option(STRING, required=True, choices=("probabilistic", "tail"), help="how it is decided")
    sampling_settings: Mapping[str, Value] | None = option(VARIANT, help="a map, by type")
    conditions: tuple[Value, ...] | None = option(
        VARIANT, help="for tail: a list of which one must hold for a span of the trace"
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbabilisticSettings:
    """The settings of type probabilistic."""

    sampling_percentage: int = option(INTEGER, 10, help="how many of a hundred traces are kept")


@dataclass(frozen=True, slots=True, kw_only=True)
class TailSettings:
    """The settings of type tail."""

    decision_wait: float = option(TIME, 30, help="seconds from the first span of a trace to the decision")
    max_traces: int = option(INTEGER, 50_000, help="traces that may wait; the oldest one is dropped for one more")
    legacy_reconcile: bool = option(BOOLEAN, False, help="taken; has no effect")


@processors.register("sampling", SamplingConfig, refused=("debug",), signals=("traces",))
class Sampling:
    """Keeps some of the traces."""

    def __init__(self, config: SamplingConfig, context: Context) -> None:
        self._tail: TailSampling | None = None
        self._percentage = 0
        if config.type == "tail":
            if not context.may_hold:
                raise InvalidProperty("type", "tail keeps spans back, which only a processor of an input can")
            tail = _settings(TailSettings, config.sampling_settings)
            if tail.decision_wait <= 0 or tail.max_traces < 1:
                raise InvalidProperty("sampling_settings", "expected a 'decision_wait' and 'max_traces' above 0")
            conditions = span_conditions(config.conditions) if config.conditions is not None else []
            self._tail = TailSampling(conditions, context, wait=tail.decision_wait, most=tail.max_traces)
        elif config.conditions is not None:
            raise InvalidProperty("conditions", "are for type tail; probabilistic decides by the trace's id alone")
        else:
            settings = _settings(ProbabilisticSettings, config.sampling_settings)
            self._percentage = settings.sampling_percentage

    def process(self, batch: Batch, emit: Emit) -> Batch:
        if self._tail is not None:
            return self._tail.process(batch, emit)
        return batch.keep([at for at, span in enumerate(batch.records) if _share(span) < self._percentage])

    async def open(self) -> None:
        pass

    async def close(self) -> None:
        if self._tail is not None:
            self._tail.close()


def _share(span: Record) -> float:
    """From 0 to below 100, by the trace's id, as Fluent Bit reckons it."""
    trace_id = span["trace_id"]
    return int(trace_id[:16], 16) % 1_000_000 / 10_000 if len(trace_id) >= 32 else 0.0


def _settings(shape: type[Settings], value: Value) -> Settings:
    if value is not None and not isinstance(value, Mapping):
        raise InvalidProperty("sampling_settings", "expected a map")
    here = Position("", 1, 1)
    given = tuple(Property(name, setting, here) for name, setting in (value or {}).items())
    found, faults = read(Section(kind="processor", position=here, properties=given), shape, label="settings")
    if faults:
        raise InvalidProperty("sampling_settings", faults[0].message)
    settings: Settings = found[0]
    return settings
