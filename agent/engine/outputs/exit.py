"""Output `exit`: stops the engine after so many chunks, records or seconds, for trying a pipeline out."""

from dataclasses import dataclass

from agent.engine.config import INTEGER, option
from agent.engine.plugin import Context, Result
from agent.engine.record import NANOSECONDS, Batch
from agent.engine.registry import outputs


@dataclass(frozen=True, slots=True, kw_only=True)
class ExitConfig:
    """What the exit output takes; with nothing it stops at the first chunk."""

    flush_count: int = option(INTEGER, -1, help="chunks before the stop")
    record_count: int = option(INTEGER, -1, help="records before the stop")
    time_count: int = option(INTEGER, -1, help="seconds before the stop, which comes with the next chunk")


@outputs.register("exit", ExitConfig, signals=("logs", "metrics", "traces"))
class Exit:
    """Stops the engine."""

    def __init__(self, config: ExitConfig, context: Context) -> None:
        is_bare = config.flush_count < 0 and config.record_count < 0 and config.time_count < 0
        self._chunks = 1 if is_bare else config.flush_count
        self._records = config.record_count
        self._seconds = config.time_count
        self._context = context
        self._started = context.clock()

    async def open(self) -> None:
        self._started = self._context.clock()

    async def write(self, batch: Batch) -> Result:
        self._chunks -= self._chunks > 0
        self._records -= min(max(self._records, 0), len(batch))
        seconds = (self._context.clock() - self._started) / NANOSECONDS
        if self._chunks == 0 or self._records == 0 or 0 < self._seconds < seconds:
            self._context.stop(f"{self._context.name} has seen what it waited for")
        return Result.OK

    async def close(self) -> None:
        pass
