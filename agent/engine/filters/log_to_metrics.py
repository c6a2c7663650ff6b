"""Filter `log_to_metrics`: counts records, or numbers in them, and emits what it counted as metrics.

Each batch that counts anything gives one snapshot of all series, under `tag`, of the time of the clock. Counters run on
as long as the instance does, over reloads that leave it alone.
"""

import re
from dataclasses import dataclass

from agent.engine.accessor import Accessor, accessor
from agent.engine.config import BOOLEAN, DOUBLE, SIZE, STRING, InvalidProperty, option, split_words
from agent.engine.matching import first_decides, matcher
from agent.engine.metrics import Histogram
from agent.engine.plugin import Context, Emit
from agent.engine.points import point, snapshot
from agent.engine.record import Batch, Record
from agent.engine.registry import filters

BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_NUMBER = re.compile(r"\s*([-+]?(?:\d+\.?\d*(?:e[-+]?\d+)?|\.\d+(?:e[-+]?\d+)?|inf|nan))", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class LogToMetricsConfig:
    """What the log_to_metrics filter takes."""

    tag: str = option(STRING, required=True, help="tag of the metrics")
    metric_mode: str = option(STRING, "counter", choices=("counter", "gauge", "histogram"), help="what is measured")
    metric_name: str = option(STRING, "a", help="last part of the metric's name")
    metric_namespace: str = option(STRING, "log_metric", help="first part of the name")
    metric_subsystem: str | None = option(STRING, help="middle part of the name; else it is the mode")
    metric_description: str = option(STRING, required=True, help="the metric's help text")
    value_field: str | None = option(STRING, help="key or record accessor of the number, for gauge and histogram")
    bucket: tuple[float, ...] = option(DOUBLE, repeated=True, help="an upper bound of the histogram")
    labels: tuple[tuple[str, str], ...] = option(
        STRING,
        names=("label_field", "add_label"),
        help="a key that becomes a label of that name, or a label's name and the record accessor of its value",
    )
    rules: tuple[tuple[str, str], ...] = option(
        STRING,
        names=("regex", "exclude"),
        help="a key or record accessor, and an expression that its text must (not) match to be counted",
    )
    discard_logs: bool = option(BOOLEAN, False, help="let no log record through, counted or not")
    emitter_name: str | None = option(STRING, help="taken; has no effect")
    emitter_mem_buf_limit: int = option(SIZE, 10_000_000, help="taken; has no effect")


REFUSED = ("kubernetes_mode", "flush_interval_sec", "flush_interval_nsec")


@filters.register("log_to_metrics", LogToMetricsConfig, refused=REFUSED)
class LogToMetrics:
    """Makes metrics of records."""

    def __init__(self, config: LogToMetricsConfig, context: Context) -> None:
        if not context.may_emit:
            raise InvalidProperty("name", "a processor cannot emit metrics; write it as a filter")
        if config.metric_mode != "counter" and config.value_field is None:
            raise InvalidProperty("value_field", f"a {config.metric_mode} needs the key of its number")
        self._config = config
        self._context = context
        self._name = "_".join(
            (config.metric_namespace, config.metric_subsystem or config.metric_mode, config.metric_name)
        )
        self._counts = first_decides([(name == "exclude", matcher(name, text)) for name, text in config.rules])
        labels = [_label(name, text) for name, text in config.labels]
        self._label_names = [name for name, _ in labels]
        self._label_values = [value_of for _, value_of in labels]
        self._value_of = _accessor("value_field", config.value_field) if config.value_field is not None else None
        self._bounds = tuple(sorted(config.bucket)) or BUCKETS
        self._series: dict[tuple[str, ...], float | Histogram] = {}

    def process(self, batch: Batch, emit: Emit) -> Batch:
        counted = failed = 0
        for record in batch.records:
            if not self._counts(record):
                continue
            if self._measure(record):
                counted += 1
            else:
                failed += 1
        if failed:
            field = self._config.value_field
            self._context.log.error("%d records have no number at %s and are not measured", failed, field)
        if counted:
            emit(self._snapshot())
        return batch.keep(()) if self._config.discard_logs and batch.records else batch

    async def open(self) -> None:
        pass

    async def close(self) -> None:
        pass

    def _measure(self, record: Record) -> bool:
        """Count a record; False when it has no number."""
        value: float | None = 1.0 if self._value_of is None else as_number(self._value_of(record))
        if value is None:
            return False
        labels = tuple(as_label(value_of(record)) for value_of in self._label_values)
        match self._config.metric_mode:
            case "gauge":
                self._series[labels] = value
            case "histogram":
                known = self._series.setdefault(labels, Histogram(self._bounds))
                assert isinstance(known, Histogram)
                known.add(value)
            case _:
                so_far = self._series.get(labels, 0.0)
                assert isinstance(so_far, float)
                self._series[labels] = so_far + 1
        return True

    def _snapshot(self) -> Batch:
        config, context = self._config, self._context
        points = [
            point(
                (
                    self._name,
                    config.metric_mode,
                    config.metric_description,
                    dict(zip(self._label_names, labels, strict=True)),
                    value,
                ),
                context.name,
            )
            for labels, value in self._series.items()
        ]
        return snapshot(config.tag, context.clock(), points)


def as_number(value: object) -> float | None:
    """A number, or what a text begins with; 0 for a text that begins with none, as in Fluent Bit."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    if isinstance(value, str):
        found = _NUMBER.match(value)
        return float(found[1]) if found else 0.0
    return float(value)


def as_label(value: object) -> str:
    """The text of a text or number, else nothing."""
    if isinstance(value, float):
        return f"{value:f}"
    return str(value) if isinstance(value, str | int) and not isinstance(value, bool) else ""


def _label(name: str, text: str) -> tuple[str, Accessor]:
    if name == "label_field":
        return text.removeprefix("$"), _accessor(name, text)
    words = split_words(text, 2)
    if len(words) != 2:
        raise InvalidProperty(name, f"{text!r}: expected a label's name and a record accessor")
    return words[0], _accessor(name, words[1])


def _accessor(name: str, text: str) -> Accessor:
    try:
        return accessor(text)
    except ValueError as error:
        raise InvalidProperty(name, str(error)) from None
