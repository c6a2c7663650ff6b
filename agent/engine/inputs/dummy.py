"""Input `dummy`: the same record again and again, for trying a pipeline out."""

import asyncio
import copy
from dataclasses import dataclass

import orjson

from agent.engine.config import BOOLEAN, INTEGER, STRING, InvalidProperty, option
from agent.engine.plugin import Context, Inlet
from agent.engine.record import NANOSECONDS, Batch, Record
from agent.engine.registry import inputs


@dataclass(frozen=True, slots=True, kw_only=True)
class DummyConfig:
    """What the dummy input takes."""

    dummy: str = option(STRING, '{"message":"dummy"}', help="the record: a JSON object")
    metadata: str = option(STRING, "{}", help="its metadata: a JSON object")
    samples: int = option(INTEGER, 0, help="how many to make; 0 means without end")
    rate: int = option(INTEGER, 1, help="how many a second")
    copies: int = option(INTEGER, 1, help="how many records each time")
    interval_sec: int = option(INTEGER, 0, help="seconds between records; with interval_nsec in place of rate")
    interval_nsec: int = option(INTEGER, 0, help="nanoseconds between records")
    start_time_sec: int = option(INTEGER, -1, help="time of the first record: seconds since the epoch")
    start_time_nsec: int = option(INTEGER, -1, help="time of the first record: nanoseconds within the second")
    fixed_timestamp: bool = option(BOOLEAN, False, help="give every record the time of the first")
    flush_on_startup: bool = option(BOOLEAN, False, help="make the first record at once")


@inputs.register("dummy", DummyConfig)
class Dummy:
    """Generates sample records."""

    def __init__(self, config: DummyConfig, context: Context) -> None:
        self._config = config
        self._clock = context.clock
        self._tag = context.tag
        self._record = _object("dummy", config.dummy)
        self._metadata = _object("metadata", config.metadata)
        self._made = 0
        for name in ("samples", "rate", "copies", "interval_sec", "interval_nsec"):
            if getattr(config, name) < (1 if name in ("rate", "copies") else 0):
                raise InvalidProperty(name, f"{getattr(config, name)} is too small")
        nanoseconds = config.interval_sec * NANOSECONDS + config.interval_nsec
        self._interval = nanoseconds / NANOSECONDS if nanoseconds else 1 / config.rate

    async def open(self) -> None:
        pass

    async def run(self, inlet: Inlet) -> None:
        loop = asyncio.get_running_loop()
        base = self._clock()
        due = loop.time() + (0 if self._config.flush_on_startup else self._interval)
        while not self._config.samples or self._made < self._config.samples:
            await asyncio.sleep(max(0, due - loop.time()))
            due = max(due + self._interval, loop.time() - 1)  # never more than a second's worth to catch up
            copies = self._config.copies
            batch = Batch(self._tag, [self._time(base)] * copies, [copy.deepcopy(self._record) for _ in range(copies)])
            if self._metadata:
                batch.metadata = [dict(self._metadata) for _ in range(copies)]
            batch.size = len(self._config.dummy) * copies
            self._made += 1
            await inlet.push(batch)

    async def close(self) -> None:
        pass

    def _time(self, base: int) -> int:
        now, config = self._clock(), self._config
        if config.start_time_sec < 0 and config.start_time_nsec < 0:
            return base if config.fixed_timestamp else now
        start = max(0, config.start_time_sec) * NANOSECONDS + max(0, config.start_time_nsec)
        return start if config.fixed_timestamp else start + now - base


def _object(name: str, text: str) -> Record:
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise InvalidProperty(name, f"is not JSON: {error}") from None
    if not isinstance(value, dict):
        raise InvalidProperty(name, "expected a JSON object")
    return value
