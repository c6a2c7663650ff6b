"""Tail sampling: spans are kept back, by trace, until the trace had the time to become whole; then it is decided on.

What is kept back is not acknowledged to its input, but is in memory only.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

from agent.engine.alarm import Alarm
from agent.engine.plugin import Context, Emit
from agent.engine.record import Batch, Record
from agent.engine.shares import Share
from agent.engine.span_conditions import SpanCondition


@dataclass(slots=True)
class _Trace:
    """The spans of a trace, each with its time, its metadata and its share of the batch that it came in."""

    due: float
    spans: list[tuple[int, Record, Record, Share]] = field(default_factory=list)


class TailSampling:
    """Keeps the traces of which a span meets one of the conditions, under the tag of the input; all without conditions.

    `wait` is seconds from the first span of a trace on; of more than `most` traces the oldest are dropped.
    """

    def __init__(self, conditions: Sequence[SpanCondition], context: Context, *, wait: float, most: int) -> None:
        self._conditions = conditions
        self._wait = wait
        self._most = most
        self._log = context.log
        self._tag = context.tag
        self._traces: dict[str, _Trace] = {}
        self._alarm = Alarm(self._decide)

    def process(self, batch: Batch, emit: Emit) -> Batch:
        if batch.records:
            self._keep_back(batch, Share(emit.hold()))
        return batch.keep(())

    def close(self) -> None:
        """Decide on all that is there."""
        self._decide(float("inf"))

    def _keep_back(self, batch: Batch, share: Share) -> None:
        due = asyncio.get_running_loop().time() + self._wait
        metadata = batch.metadata if batch.metadata is not None else [{}] * len(batch)
        for when, span, about in zip(batch.times, batch.records, metadata, strict=True):
            share.wait()
            self._traces.setdefault(span["trace_id"], _Trace(due)).spans.append((when, span, about, share))
        share.done()
        if (excess := len(self._traces) - self._most) > 0:
            self._log.warning("more than %d traces wait; the oldest are dropped: %d", self._most, excess)
            for trace_id in list(self._traces)[:excess]:
                _let_go(self._traces.pop(trace_id))
        self._set_alarm()

    def _set_alarm(self) -> None:
        self._alarm.set(next((trace.due for trace in self._traces.values()), None))  # in the order in which they began

    def _decide(self, now: float) -> None:
        """On all traces that have had their time."""
        due = {trace_id: trace for trace_id, trace in self._traces.items() if trace.due <= now}
        kept = [one for trace in due.values() if self._is_wanted(trace) for one in trace.spans]
        if kept:
            first, *others = {share: share.held for _, _, _, share in kept}.values()
            times, spans, metadata = [one[0] for one in kept], [one[1] for one in kept], [one[2] for one in kept]
            first.emit(Batch(self._tag, times, spans, metadata, 300 * len(kept), "traces"), others)
        for trace_id, trace in due.items():
            del self._traces[trace_id]
            _let_go(trace)
        self._set_alarm()

    def _is_wanted(self, trace: _Trace) -> bool:
        count = len(trace.spans)
        return not self._conditions or any(
            holds(span, metadata, count) for _, span, metadata, _ in trace.spans for holds in self._conditions
        )


def _let_go(trace: _Trace) -> None:
    for _, _, _, share in trace.spans:
        share.done()
