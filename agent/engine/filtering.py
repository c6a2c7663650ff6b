"""Batches through filters and processors, with their counters; what a filter emits starts again at the first filter.

A processor with a condition sees the records that it is for, and only those; order is kept.
"""

from collections import deque
from collections.abc import Iterable, Iterator
from itertools import groupby

from agent.engine.parts import FilterPart
from agent.engine.plugin import Emit
from agent.engine.record import Batch
from agent.engine.router import Routes


def processed(batch: Batch, processors: Iterable[FilterPart]) -> Batch:
    """What the processors of an input or output make of a batch; they cannot emit."""
    for processor in processors:
        batch = _run(processor, batch, _no_emit) if processor.condition is None else _run_where(processor, batch)
    return batch


def filtered(batch: Batch, filters: Routes[FilterPart]) -> Iterator[Batch]:
    """What the filters make of a batch, and of what they emit from it; no filter sees again what it emitted."""
    work: deque[tuple[Batch, frozenset[FilterPart]]] = deque([(batch, frozenset())])
    while work:
        current, emitters = work.popleft()
        for part in filters.of(current.tag):
            if part in emitters:
                continue
            current = _run(part, current, _emitter(work, emitters | {part}))
            if not current.records:
                break
        if current.records:
            yield current


def _emitter(work: "deque[tuple[Batch, frozenset[FilterPart]]]", emitters: frozenset[FilterPart]) -> Emit:
    return lambda emitted: work.append((emitted, emitters))


def _run(part: FilterPart, batch: Batch, emit: Emit) -> Batch:
    records, size = len(batch), batch.size
    result = part.plugin.process(batch, emit)
    part.metrics.count(records, len(result), size, result.size)
    return result


def _run_where(part: FilterPart, batch: Batch) -> Batch:
    condition = part.condition
    assert condition is not None
    metadata = batch.metadata or [{}] * len(batch)
    is_meant = list(map(condition, batch.records, metadata))
    result = Batch(batch.tag)
    for meant, indexes in groupby(range(len(batch)), is_meant.__getitem__):
        some = batch.keep(indexes)
        result.extend(_run(part, some, _no_emit) if meant else some)
    return result


def _no_emit(_batch: Batch) -> None:
    raise RuntimeError("a processor cannot emit records under another tag")
