"""Input `fluentbit_metrics`: the engine's own metrics, now and then, for outputs that take metrics."""

from dataclasses import dataclass

from agent.engine.config import BOOLEAN, TIME, InvalidProperty, option
from agent.engine.metrics import Sample
from agent.engine.pace import every
from agent.engine.plugin import Context, Inlet
from agent.engine.points import point, snapshot
from agent.engine.record import Batch
from agent.engine.registry import inputs

_SCRAPES = "fluentbit_input_metrics_scrapes_total"


@dataclass(frozen=True, slots=True, kw_only=True)
class FluentbitMetricsConfig:
    """What the fluentbit_metrics input takes."""

    scrape_interval: int = option(TIME, 2, help="seconds between two looks at the metrics")
    scrape_on_start: bool = option(BOOLEAN, False, help="look at once, too")


@inputs.register("fluentbit_metrics", FluentbitMetricsConfig)
class FluentbitMetrics:
    """Reads the engine's own metrics."""

    def __init__(self, config: FluentbitMetricsConfig, context: Context) -> None:
        if config.scrape_interval <= 0:
            raise InvalidProperty("scrape_interval", "expected more than 0 seconds")
        self._config = config
        self._context = context
        self._scrapes = 0

    async def open(self) -> None:
        pass

    async def run(self, inlet: Inlet) -> None:
        async for _ in every(self._config.scrape_interval, at_once=self._config.scrape_on_start):
            await inlet.push(self._scraped())

    async def close(self) -> None:
        pass

    def _scraped(self) -> Batch:
        self._scrapes += 1
        own: Sample = (_SCRAPES, "counter", "Number of looks.", {"name": self._context.name}, self._scrapes)
        points = [point(sample, self._context.name) for sample in [*self._context.own_metrics(), own]]
        return snapshot(self._context.tag, self._context.clock(), points)
