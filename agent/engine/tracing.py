"""Taps: what becomes of an input's records at each step, as events on an output of their own.

This is Fluent Bit's chunk trace. Events are maps under the tag `trace`: type 1 is what the input read, 2 what a filter
made of it (one per filter that changed anything), 3 what goes to the outputs, 4 how an output took it (`return`: 1
taken, 0 refused, 2 to be tried again). Those of one read have one `trace_id`. Times are seconds since the epoch.

A trace never slows the pipeline down: events wait in a bounded queue, and are dropped, counted, when it is full. One
per input and prefix; used from the event loop's thread only.
"""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import IntEnum
from functools import partial
from typing import Any

from agent.engine.config import InvalidProperty, read
from agent.engine.logs import ROOT as LOG
from agent.engine.plugin import Context, Output, OutputSettings, PluginError, Result
from agent.engine.record import NANOSECONDS, Batch, Record
from agent.engine.registry import outputs
from headrace.config import Position, Property, Section

QUEUE = 1000
LAST_EVENTS = 10.0
"""Seconds that outputs have to take the last read of a trace with a limit of reads, for events of type 4."""

TAG = "trace"
_RETURN = {Result.OK: 1, Result.ERROR: 0, Result.RETRY: 2}


class Event(IntEnum):
    INPUT = 1
    FILTER = 2
    PRE_OUTPUT = 3
    OUTPUT = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """A trace that is asked for. At most one limit holds: of reads (`count`) or of `seconds`; 0 means none."""

    prefix: str = "trace."
    output: str = "stdout"
    params: Mapping[str, str]
    count: int = 0
    seconds: int = 0


class Trace:
    """One trace that is on."""

    def __init__(self, request: Request, output: Output, clock: Callable[[], int]) -> None:
        self.request = request
        self.clock = clock
        self.dropped = 0
        self.reads = 0
        self._output = output
        self._queue: asyncio.Queue[Record | None] = asyncio.Queue()

    @property
    def is_over(self) -> bool:
        """Whether the limit of reads is reached."""
        return 0 < self.request.count <= self.reads

    def begin(self) -> str:
        """The identifier of the next read."""
        self.reads += 1
        return f"{self.request.prefix}{self.reads - 1}"

    def put(self, event: Record) -> None:
        if self._queue.qsize() < QUEUE:
            self._queue.put_nowait(event)
        else:
            self.dropped += 1

    def end(self) -> None:
        """No event comes after this; what waits is still written."""
        self._queue.put_nowait(None)

    async def run(self) -> None:
        """Write events until the end, then close the output."""
        try:
            while (event := await self._queue.get()) is not None:
                await self._write(event)
            if self.dropped:
                LOG.warning("[trace] %d events of trace %r were dropped", self.dropped, self.request.prefix)
        finally:
            await self._output.close()

    async def _write(self, event: Record) -> None:
        try:
            result = await self._output.write(Batch(TAG, [self.clock()], [event], None, 1))
        except Exception as error:
            LOG.error("[trace] output %r failed: %s", self.request.output, error)
            result = Result.ERROR
        if result is not Result.OK:
            self.dropped += 1


class Look:
    """What the traces of an input see of one read."""

    def __init__(self, traces: list[Trace], name: str, alias: str | None) -> None:
        self._ids = [(trace, trace.begin()) for trace in traces]
        self._clock = traces[0].clock
        self._input: Record = _who(name, alias)

    def read(self, batch: Batch) -> None:
        """The input read this."""
        self._put(Event.INPUT, self._input, self._clock(), records=_records(batch))

    def filtered(self, name: str, alias: str | None, started: int, after: Batch) -> None:
        """A filter made this of it."""
        self._put(Event.FILTER, _who(name, alias), started, records=_records(after))

    def passed(self, batch: Batch) -> None:
        """This goes to the outputs."""
        self._put(Event.PRE_OUTPUT, self._input, self._clock(), records=_records(batch))

    def delivered(self, name: str, result: Result) -> None:
        """An output was given it."""
        self._put(Event.OUTPUT, _who(name, None), self._clock(), **{"return": _RETURN[result]})

    def now(self) -> int:
        return self._clock()

    def _put(self, kind: Event, who: Record, started: int, **what: Any) -> None:
        times = {"start_time": started / NANOSECONDS, "end_time": self._clock() / NANOSECONDS}
        for trace, trace_id in self._ids:
            trace.put({"type": int(kind), "trace_id": trace_id, **who, **what, **times})


def _who(name: str, alias: str | None) -> Record:
    return {"plugin_instance": name} if alias is None else {"plugin_instance": name, "plugin_alias": alias}


def _records(batch: Batch) -> list[Record]:
    copied = batch.copy()
    return [
        {"timestamp": when / NANOSECONDS, "record": record}
        for when, record in zip(copied.times, copied.records, strict=True)
    ]


class Tracer:
    """The traces that are on. `context` is what their outputs get from the engine."""

    def __init__(self, tasks: asyncio.TaskGroup, context: Context) -> None:
        self._tasks = tasks
        self._context = context
        self._on: dict[str, dict[str, Trace]] = {}
        self._timers: dict[Trace, asyncio.TimerHandle] = {}
        self._writing: set[asyncio.Task[None]] = set()

    async def start(self, source: str, request: Request) -> None:
        """Trace the input of that name; the same prefix replaces. Raises PluginError when the output cannot be had."""
        output = _output(request, self._context)
        await output.open()
        trace = Trace(request, output, self._context.clock)
        self.stop(source, request.prefix)
        self._on.setdefault(source, {})[request.prefix] = trace
        task = self._tasks.create_task(trace.run(), name=f"trace {request.prefix}")
        self._writing.add(task)
        task.add_done_callback(self._writing.discard)
        if request.seconds:
            self._end_later(request.seconds, lambda: self.stop(source, request.prefix), trace)

    def stop(self, source: str, prefix: str | None = None) -> None:
        """End one trace of an input, or all of them."""
        for name, trace in list(self._on.get(source, {}).items()):
            if prefix is None or name == prefix:
                del self._on[source][name]
                self._end(trace)

    def look(self, source: str, alias: str | None) -> Look | None:
        """What the traces of that input see of its next read; None when there is none."""
        traces = self._on.get(source)
        if not traces:
            return None
        look = Look(list(traces.values()), source, alias)
        for trace in [trace for trace in traces.values() if trace.is_over]:
            del traces[trace.request.prefix]
            self._end_later(LAST_EVENTS, partial(self._end, trace), trace)
        return look

    async def close(self) -> None:
        """End every trace; what waits is written."""
        for source in list(self._on):
            self.stop(source)
        for trace in list(self._timers):
            self._end(trace)
        if self._writing:
            await asyncio.wait(self._writing)

    def _end_later(self, seconds: float, end: Callable[[], None], trace: Trace) -> None:
        earlier = self._timers.pop(trace, None)
        if earlier is not None:
            earlier.cancel()
        self._timers[trace] = asyncio.get_running_loop().call_later(seconds, end)

    def _end(self, trace: Trace) -> None:
        timer = self._timers.pop(trace, None)
        if timer is not None:
            timer.cancel()
        trace.end()


def _output(request: Request, context: Context) -> Output:
    where = Position("trace request", 1, 1)
    given = {"name": request.output, **request.params}
    section = Section(
        kind="output", position=where, properties=tuple(Property(k.lower(), v, where) for k, v in given.items())
    )
    try:
        plugin = outputs.find(request.output)
        found, faults = read(section, plugin.config, OutputSettings, refused=plugin.refused)
        if faults:
            raise PluginError("; ".join(fault.message for fault in faults))
        return plugin.make(found[0], context)
    except (LookupError, InvalidProperty) as error:
        raise PluginError(str(error)) from None
