"""The series that one Report stream has defined: they travel once, and each batch gets those it refers to. Pure."""

from __future__ import annotations

import dataclasses

from headrace.errors import LimitError, ProtocolError
from headrace.messages import ReportRequest, Samples, Series

_SERIES = 20_000
_KNOWN = 32
"""So many different sets of series are remembered; an agent mostly sends the same one."""


class SeriesTable:
    """One per stream; a definition that comes again replaces the old one."""

    __slots__ = ("_by_id", "_known")

    def __init__(self) -> None:
        self._by_id: dict[int, Series] = {}
        self._known: dict[tuple[tuple[int, ...], ...], tuple[Series, ...]] = {}

    def resolve(self, request: ReportRequest) -> ReportRequest:
        """The request with exactly the series of its samples; of the same series it is the same tuple, as long as none
        is defined anew. Raises ProtocolError and LimitError."""
        if request.series:
            self._known.clear()
            self._by_id.update((series.id, series) for series in request.series)
            if len(self._by_id) > _SERIES:
                raise LimitError(f"metrics: more than {_SERIES} series on one stream; open a new one")
        for samples in request.samples:
            if len(samples.series) != len(samples.values):
                raise ProtocolError(f"metrics: {len(samples.series)} series for {len(samples.values)} values")
        key = tuple([samples.series for samples in request.samples])
        wanted = self._known.get(key)
        if wanted is None:
            if len(self._known) >= _KNOWN:
                self._known.clear()
            wanted = self._known[key] = self._wanted(request.samples)
        return dataclasses.replace(request, series=wanted)

    def _wanted(self, batches: tuple[Samples, ...]) -> tuple[Series, ...]:
        wanted: dict[int, Series] = {}
        for samples in batches:
            for id in samples.series:
                if id not in self._by_id:
                    raise ProtocolError(f"metrics: series {id} was not defined on this stream")
                wanted[id] = self._by_id[id]
        return tuple(wanted.values())
