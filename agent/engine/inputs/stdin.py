"""Input `stdin`: one record per line of standard input; the engine stops when it ends."""

import asyncio
import os
import sys
from dataclasses import dataclass

import orjson

from agent.engine.config import SIZE, STRING, option
from agent.engine.parser import Parsed
from agent.engine.plugin import Context, Inlet
from agent.engine.record import NANOSECONDS, Batch
from agent.engine.registry import inputs


@dataclass(frozen=True, slots=True, kw_only=True)
class StdinConfig:
    """What the stdin input takes."""

    parser: str | None = option(
        STRING, help="parser for each line; without it lines are JSON: an object or [time, object]"
    )
    buffer_size: int = option(SIZE, 65536, help="longest line; longer ones are left out")


@inputs.register("stdin", StdinConfig)
class Stdin:
    """Reads standard input."""

    def __init__(self, config: StdinConfig, context: Context) -> None:
        self._config = config
        self._context = context
        self._parser = context.parser("parser", config.parser) if config.parser else None

    async def open(self) -> None:
        pass

    async def run(self, inlet: Inlet) -> None:
        chunks: asyncio.Queue[bytes] = asyncio.Queue(1)
        loop = asyncio.get_running_loop()
        # A blocking read in a thread takes files, pipes and terminals alike; readiness does not (a file is always
        # ready).
        reader = loop.create_task(self._feed(chunks), name="read standard input")
        try:
            rest, is_long = b"", False
            while data := await chunks.get():
                first, *others = (rest + data).split(b"\n")
                if others:
                    rest = others.pop()
                    await self._push([*others] if is_long else [first, *others], inlet)
                    is_long = False
                else:
                    rest = first
                if len(rest) > self._config.buffer_size:  # what is left of it up to its end goes the same way
                    rest, is_long = b"", True
                    self._context.log.error("a line longer than buffer_size is left out")
            if rest and not is_long:
                await self._push([rest], inlet)
            self._context.stop("standard input ended")
        finally:
            reader.cancel()

    async def close(self) -> None:
        pass

    async def _feed(self, chunks: asyncio.Queue[bytes]) -> None:
        while data := await asyncio.to_thread(os.read, sys.stdin.fileno(), 65536):
            await chunks.put(data)
        await chunks.put(b"")

    async def _push(self, lines: list[bytes], inlet: Inlet) -> None:
        now = self._context.clock()
        batch = Batch(self._context.tag)
        for line in lines:
            if not line.strip():
                continue
            if len(line) > self._config.buffer_size:
                self._context.log.error("a line longer than buffer_size is left out")
                continue
            parsed = self._parser.parse(line) if self._parser else _json(line)
            if parsed is None:
                self._context.log.warning("a line of %d bytes is not what is expected and is left out", len(line))
                continue
            batch.times.append(parsed[0] or now)
            batch.records.append(parsed[1])
            batch.size += len(line) + 1
        if batch.records:
            await inlet.push(batch)


def _json(line: bytes) -> Parsed | None:
    """An object, or [seconds since the epoch, object]."""
    try:
        value = orjson.loads(line)
    except orjson.JSONDecodeError:
        return None
    if isinstance(value, dict):
        return 0, value
    if isinstance(value, list) and len(value) == 2 and isinstance(value[1], dict) and isinstance(value[0], int | float):
        return int(value[0] * NANOSECONDS), value[1]
    return None
