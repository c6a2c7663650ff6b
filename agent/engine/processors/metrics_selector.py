"""Processor `metrics_selector`: keeps or drops metrics by their name, or drops series by one label and its value."""

from collections.abc import Callable
from dataclasses import dataclass

from agent.engine.config import STRING, InvalidProperty, option
from agent.engine.plugin import Context, Emit
from agent.engine.record import Batch, Record
from agent.engine.regex import compile_regex
from agent.engine.registry import processors


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricsSelectorConfig:
    """What the metrics_selector processor takes."""

    context: str = option(
        STRING, "metric_name", choices=("metric_name", "delete_label_value"), help="what is looked at"
    )
    metric_name: str | None = option(STRING, help="a name, or an expression between slashes")
    action: str = option(STRING, "include", choices=("include", "exclude"), help="whether what matches is kept")
    operation_type: str = option(
        STRING, "prefix", choices=("prefix", "substring"), help="which part of the name is compared"
    )
    label: str | None = option(STRING, help="for delete_label_value: a label and its value")


@processors.register("metrics_selector", MetricsSelectorConfig, signals=("metrics",))
class MetricsSelector:
    """Keeps or drops metrics."""

    def __init__(self, config: MetricsSelectorConfig, context: Context) -> None:
        self._keeps = _by_label(config.label) if config.context == "delete_label_value" else _by_name(config)

    def process(self, batch: Batch, emit: Emit) -> Batch:
        return batch.keep([at for at, one in enumerate(batch.records) if self._keeps(one)])

    async def open(self) -> None:
        pass

    async def close(self) -> None:
        pass


def _by_name(config: MetricsSelectorConfig) -> Callable[[Record], bool]:
    wanted, included = config.metric_name, config.action == "include"
    if not wanted:
        raise InvalidProperty("metric_name", "is needed; give a name, or an expression between slashes")
    if wanted.startswith("/") and wanted.endswith("/"):
        try:
            search = compile_regex(wanted).search
        except ValueError as error:
            raise InvalidProperty("metric_name", str(error)) from None
        return lambda one: (search(one["name"]) is not None) is included
    if config.operation_type == "substring":
        return lambda one: (wanted in one["name"]) is included
    return lambda one: one["name"].startswith(wanted) is included


def _by_label(label: str | None) -> Callable[[Record], bool]:
    name, *value = (label or "").split(None, 1)[:2] or [""]
    if not value:
        raise InvalidProperty("label", "expected a label and its value")
    return lambda one: one["labels"].get(name) != value[0]
