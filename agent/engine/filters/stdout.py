"""Filter `stdout`: prints records on their way, and leaves them alone."""

import sys
from dataclasses import dataclass

from agent.engine.encode import plain_text, seconds_text
from agent.engine.plugin import Context, Emit
from agent.engine.record import Batch
from agent.engine.registry import filters


@dataclass(frozen=True, slots=True, kw_only=True)
class StdoutFilterConfig:
    """The stdout filter takes nothing."""


@filters.register("stdout", StdoutFilterConfig)
class StdoutFilter:
    """Prints records as they pass."""

    def __init__(self, config: StdoutFilterConfig, context: Context) -> None:
        pass

    def process(self, batch: Batch, emit: Emit) -> Batch:
        metadata = batch.metadata or [{}] * len(batch)
        for at, (when, about, record) in enumerate(zip(batch.times, metadata, batch.records, strict=True)):
            print(f"[{at}] {batch.tag}: [{seconds_text(when)}, {plain_text(about)}, {plain_text(record)}]")
        sys.stdout.flush()
        return batch

    async def open(self) -> None:
        pass

    async def close(self) -> None:
        pass
