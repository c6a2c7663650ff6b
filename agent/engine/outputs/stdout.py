"""Output `stdout`: records on standard output."""

import asyncio
import os
import sys
from dataclasses import dataclass

from agent.engine.config import STRING, option
from agent.engine.encode import DATE_FORMATS, JSON_FORMATS, JsonFormat, metrics_text, plain_text, seconds_text
from agent.engine.plugin import Context, Result
from agent.engine.record import Batch
from agent.engine.registry import outputs
from agent.engine.span_text import spans_text


@dataclass(frozen=True, slots=True, kw_only=True)
class StdoutConfig:
    """What the stdout output takes."""

    format: str = option(
        STRING, "msgpack", choices=("msgpack", *JSON_FORMATS), help="msgpack means Fluent Bit's own notation"
    )
    json_date_key: str = option(STRING, "date", help="key for the time in JSON formats; 'false' leaves it out")
    json_date_format: str = option(
        STRING, "double", choices=DATE_FORMATS, help="how the time is written in JSON formats"
    )


@outputs.register("stdout", StdoutConfig, signals=("logs", "metrics", "traces"))
class Stdout:
    """Prints records."""

    def __init__(self, config: StdoutConfig, context: Context) -> None:
        self._format = config.format
        self._json = JsonFormat(
            config.format,
            date_key=None if config.json_date_key.lower() == "false" else config.json_date_key,
            date_format=config.json_date_format,
            escape_unicode=context.escape_unicode,
        )

    async def open(self) -> None:
        pass

    async def write(self, batch: Batch) -> Result:
        if batch.signal == "metrics":
            data = metrics_text(batch)
        elif batch.signal == "traces":
            data = spans_text(batch)
        elif self._format == "msgpack":
            data = "".join(_notation(batch, at) for at in range(len(batch))).encode("utf-8", "replace")
        else:
            data = self._json.encode(batch) + (b"" if self._format == "json_lines" else b"\n")
        # In a thread: whoever reads our output may be slow, and the engine must go on answering.
        await asyncio.to_thread(_write_all, data)
        return Result.OK

    async def close(self) -> None:
        pass


def _notation(batch: Batch, at: int) -> str:
    metadata = plain_text(batch.metadata[at]) if batch.metadata is not None else "{}"
    return f"[{at}] {batch.tag}: [[{seconds_text(batch.times[at])}, {metadata}], {plain_text(batch.records[at])}]\n"


def _write_all(data: bytes) -> None:
    left = memoryview(data)
    while left:
        left = left[os.write(sys.stdout.fileno(), left) :]
