"""The series that one Report stream has defined: they travel once, and each batch gets those it refers to. Pure."""

from __future__ import annotations

import dataclasses

from headrace.errors import LimitError, ProtocolError
from headrace.messages import ReportRequest, Series

_SERIES = 20_000


class SeriesTable:
    """One per stream; a definition that comes again replaces the old one."""

    __slots__ = ("_by_id",)

    def __init__(self) -> None:
        self._by_id: dict[int, Series] = {}

    def resolve(self, request: ReportRequest) -> ReportRequest:
        """The request with exactly the series of its samples. Raises ProtocolError and LimitError."""
        for series in request.series:
            self._by_id[series.id] = series
        if len(self._by_id) > _SERIES:
            raise LimitError(f"metrics: more than {_SERIES} series on one stream; open a new one")
        wanted: dict[int, Series] = {}
        for samples in request.samples:
            if len(samples.series) != len(samples.values):
                raise ProtocolError(f"metrics: {len(samples.series)} series for {len(samples.values)} values")
            for id in samples.series:
                if id not in self._by_id:
                    raise ProtocolError(f"metrics: series {id} was not defined on this stream")
                wanted[id] = self._by_id[id]
        return dataclasses.replace(request, series=tuple(wanted.values()))
