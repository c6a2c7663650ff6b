"""Batches through filters and processors, with their counters; what a filter emits starts again at the first filter."""

from collections import deque
from collections.abc import Iterable, Iterator

from agent.engine.parts import FilterPart
from agent.engine.plugin import Emit
from agent.engine.record import Batch
from agent.engine.router import Routes


def processed(batch: Batch, processors: Iterable[FilterPart]) -> Batch:
    """What the processors of an input make of a batch; they cannot emit."""
    for processor in processors:
        batch = _run(processor, batch, _no_emit)
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


def _no_emit(_batch: Batch) -> None:
    raise RuntimeError("a processor cannot emit records under another tag")
