"""Batches through filters and processors, with their counters; what a filter emits starts again at the first filter.

A filter that has to wait stops the batch before it, and `filtered` says for what; whoever drives it goes on when that
is over. A processor with a condition sees the records that it is for, and only those; order is kept.
"""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from itertools import groupby
from typing import TypeAlias

from agent.engine.metrics import Accounts
from agent.engine.parts import FilterPart
from agent.engine.plugin import Emit, Held, Wait
from agent.engine.record import Batch
from agent.engine.router import Routes
from agent.engine.tracing import Look

Passed: TypeAlias = frozenset[str]
"""Names of filters: a filter that a reload replaces counts as the same."""
Hold: TypeAlias = Callable[[Passed], Held]
HoldProcessed: TypeAlias = Callable[[Sequence[FilterPart]], Held]


def processed(batch: Batch, processors: Sequence[FilterPart], hold: HoldProcessed | None = None) -> Batch:
    """What the processors of an input or output make of a batch, those of its signal; they cannot emit.

    `hold` is called when one keeps records for later, with the processors that these have not passed.
    """
    for at, processor in enumerate(processors):
        if processor.section.signal != batch.signal:
            continue
        emitter = _NO_EMITTER if hold is None else _HoldOnly(hold, processors[at + 1 :])
        batch = _run(processor, batch, emitter) if processor.condition is None else _run_where(processor, batch)
    return batch


def filtered(
    batch: Batch,
    filters: Routes[FilterPart],
    hold: Hold,
    accounts: Accounts,
    look: Look | None = None,
    passed: Passed = frozenset(),
) -> Iterator[Batch | Wait]:
    """What the filters but those of `passed` make of a batch, and of what they emit from it, or what to wait for next.

    No filter sees again what it emitted, and none sees metrics. `hold` is called when a filter keeps records for later,
    with the filters that these have then passed. `accounts` counts what is emitted; `look` sees what filters change.
    """
    work: deque[tuple[Batch, Passed]] = deque([(batch, passed)])
    while work:
        current, behind = work.popleft()
        for part in filters.of(current.tag) if current.signal == "logs" else ():
            if part.name in behind:
                continue
            if part.prepare is not None and (wait := part.prepare(current)) is not None:
                standing = sum(len(each) for each in (current, *(later for later, _ in work)) if each.signal == "logs")
                accounts.standing += standing
                try:
                    yield wait
                finally:
                    accounts.standing -= standing
            emitter = _Emitter(work, behind | {part.name}, hold, accounts)
            current = _run(part, current, emitter) if look is None else _run_seen(part, current, emitter, look)
            if not current.records:
                break
        if current.records:
            yield current


class _Emitter:
    def __init__(self, work: "deque[tuple[Batch, Passed]]", behind: Passed, hold: Hold, accounts: Accounts) -> None:
        self._work = work
        self._behind = behind
        self._hold = hold
        self._accounts = accounts

    def __call__(self, batch: Batch) -> None:
        if batch.signal == "logs":
            self._accounts.emitted += len(batch)
        self._work.append((batch, self._behind))

    def hold(self) -> Held:
        return self._hold(self._behind)


class _NoEmitter:
    """A processor is told beforehand that it may not emit, and that of an output not hold either."""

    def __call__(self, batch: Batch) -> None:
        raise RuntimeError("a processor cannot emit records")

    def hold(self) -> Held:
        raise RuntimeError("a processor of an output cannot hold records back")


class _HoldOnly(_NoEmitter):
    def __init__(self, hold: HoldProcessed, rest: Sequence[FilterPart]) -> None:
        self._hold = hold
        self._rest = rest

    def hold(self) -> Held:
        return self._hold(self._rest)


_NO_EMITTER = _NoEmitter()


def _run(part: FilterPart, batch: Batch, emit: Emit) -> Batch:
    records, size = len(batch), batch.size
    result = part.plugin.process(batch, emit)
    part.metrics.count(records, len(result), size, result.size)
    return result


def _run_seen(part: FilterPart, batch: Batch, emit: Emit, look: Look) -> Batch:
    before, started = batch.copy(), look.now()
    result = _run(part, batch, emit)
    if (result.records, result.times, result.metadata) != (before.records, before.times, before.metadata):
        look.filtered(part.name, part.section.alias, started, result)
    return result


def _run_where(part: FilterPart, batch: Batch) -> Batch:
    condition = part.condition
    assert condition is not None
    metadata = batch.metadata or [{}] * len(batch)
    is_meant = list(map(condition, batch.records, metadata))
    result = Batch(batch.tag)
    for meant, indexes in groupby(range(len(batch)), is_meant.__getitem__):
        some = batch.keep(indexes)
        result.extend(_run(part, some, _NO_EMITTER) if meant else some)
    return result
