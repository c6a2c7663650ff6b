"""Packs batches for one Report stream: a series is defined once, then named by the stream's own id. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from headrace.messages import ReportRequest, Series

MAX_SERIES = 20_000
"""So many series a control plane takes on one stream."""

_Key = tuple[str, frozenset[tuple[str, str]]]


class Packer:
    """One per stream."""

    def __init__(self) -> None:
        self._ids: dict[_Key, int] = {}

    def pack(self, batches: Sequence[ReportRequest]) -> ReportRequest:
        """One request for several batches, of which each defines its own series; it has the last one's sequence.

        Nothing is remembered of it until it is `sent`.
        """
        new: dict[_Key, Series] = {}
        samples = []
        for batch in batches:
            ids: dict[int, int] = {}
            for series in batch.series:
                key = _key(series)
                known = self._ids.get(key)
                if known is None:
                    added = new.setdefault(key, replace(series, id=len(self._ids) + len(new) + 1))
                    known = added.id
                ids[series.id] = known
            samples += [replace(each, series=tuple([ids[id] for id in each.series])) for each in batch.samples]
        return ReportRequest(sequence=batches[-1].sequence, series=tuple(new.values()), samples=tuple(samples))

    def sent(self, request: ReportRequest) -> None:
        """The other end knows its series from now on."""
        self._ids.update((_key(series), series.id) for series in request.series)

    def has_room(self, request: ReportRequest) -> bool:
        """Whether the stream may define these series, too."""
        return len(self._ids) + len(request.series) <= MAX_SERIES


def _key(series: Series) -> _Key:
    return series.name, frozenset(series.tags.items())
