"""Output `counter`: says how many records each chunk has."""

import asyncio
from dataclasses import dataclass

from agent.engine.plugin import Context, Result
from agent.engine.record import NANOSECONDS, Batch
from agent.engine.registry import outputs


@dataclass(frozen=True, slots=True, kw_only=True)
class CounterConfig:
    """The counter output takes nothing."""


@outputs.register("counter", CounterConfig)
class Counter:
    """Counts records."""

    def __init__(self, config: CounterConfig, context: Context) -> None:
        self._clock = context.clock

    async def open(self) -> None:
        pass

    async def write(self, batch: Batch) -> Result:
        now, count = self._clock() / NANOSECONDS, len(batch)
        line = f'{{"ts":{now:.6f},"serialized_events":{count},"log_records":{count},"total":{count}}}'
        await asyncio.to_thread(print, line, flush=True)
        return Result.OK

    async def close(self) -> None:
        pass
