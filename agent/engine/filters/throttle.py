"""Filter `throttle`: lets so many records through per interval, on average over a sliding window."""

from collections import deque
from dataclasses import dataclass

from agent.engine.config import BOOLEAN, DOUBLE, INTEGER, STRING, InvalidProperty, option
from agent.engine.plugin import Context, Emit
from agent.engine.record import NANOSECONDS, Batch
from agent.engine.registry import filters
from headrace.config import parse_time


@dataclass(frozen=True, slots=True, kw_only=True)
class ThrottleConfig:
    """What the throttle filter takes."""

    rate: float = option(DOUBLE, 1.0, help="records per interval")
    window: int = option(INTEGER, 5, help="intervals to average over")
    interval: str = option(STRING, "1", help="length of an interval: 30s, 5m, 1h; a plain number is seconds")
    print_status: bool = option(BOOLEAN, False, help="log the rate and the limit as time goes on")


@filters.register("throttle", ThrottleConfig)
class Throttle:
    """Drops records above a rate."""

    def __init__(self, config: ThrottleConfig, context: Context) -> None:
        try:
            seconds = parse_time(config.interval)
        except ValueError as error:
            raise InvalidProperty("interval", str(error)) from None
        if seconds <= 0:
            raise InvalidProperty("interval", "expected more than 0 seconds")
        self._config = config
        self._log = context.log
        self._clock = context.clock
        self._interval = seconds * NANOSECONDS
        # Fluent Bit takes its defaults for a rate or a window of 1 or less, too.
        self._rate = config.rate if config.rate > 1 else 1.0
        self._panes: deque[int] = deque([0], maxlen=config.window if config.window > 1 else 5)
        self._window = self._panes.maxlen or 1
        self._total = 0
        self._slid_at = context.clock()

    def process(self, batch: Batch, emit: Emit) -> Batch:
        self._slide()
        room = 0
        while room < len(batch) and self._total / self._window < self._rate:
            self._panes[-1] += 1
            self._total += 1
            room += 1
        return batch.keep(range(room))

    async def open(self) -> None:
        pass

    async def close(self) -> None:
        pass

    def _slide(self) -> None:
        """Begin a new pane for each interval that has passed."""
        passed = (self._clock() - self._slid_at) // self._interval
        if passed <= 0:
            return
        self._slid_at += passed * self._interval
        self._panes.extend([0] * min(passed, self._window))
        self._total = sum(self._panes)
        if self._config.print_status:
            self._log.info(
                "limit is %.2f per %s with window size of %d, current rate is: %d per interval",
                self._rate,
                self._config.interval,
                self._window,
                self._total // self._window,
            )
