"""What a Report stream has defined: each batch gets its series, and the same ones over and over are the same tuple."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from headrace.errors import LimitError, ProtocolError
from headrace.messages import ReportRequest, Samples, Series
from headrace.server import series as series_module
from headrace.server.series import SeriesTable

AT = datetime(2026, 1, 1, tzinfo=UTC)


def request(*batches: tuple[int, ...], defines: tuple[int, ...] = (), name: str = "m") -> ReportRequest:
    return ReportRequest(
        sequence=1,
        series=tuple(Series(id=id, name=f"{name}{id}") for id in defines),
        samples=tuple(Samples(at=AT, series=ids, values=(1.0,) * len(ids)) for ids in batches),
    )


def names(found: ReportRequest) -> list[str]:
    return [series.name for series in found.series]


def test_a_batch_has_exactly_the_series_of_its_samples() -> None:
    table = SeriesTable()
    assert names(table.resolve(request((1, 2), defines=(1, 2, 3)))) == ["m1", "m2"]
    assert names(table.resolve(request((3,), (1, 3)))) == ["m3", "m1"]


def test_the_same_series_are_the_same_tuple_until_one_is_defined_anew() -> None:
    table = SeriesTable()
    first = table.resolve(request((1, 2), defines=(1, 2)))
    table.resolve(request((2,)))
    assert table.resolve(request((1, 2))).series is first.series
    assert names(table.resolve(request((1, 2), defines=(2,), name="n"))) == ["m1", "n2"]
    for number in range(100):
        table.resolve(request((1,), *[(2,)] * number))
    assert len(table._known) <= series_module._KNOWN


@pytest.mark.parametrize(
    ("samples", "words"),
    [
        pytest.param(Samples(at=AT, series=(1,), values=(1.0, 2.0)), "1 series for 2 values", id="uneven"),
        pytest.param(Samples(at=AT, series=(7,), values=(1.0,)), "series 7 was not defined", id="undefined"),
    ],
)
def test_what_makes_no_sense_is_refused(samples: Samples, words: str) -> None:
    table = SeriesTable()
    table.resolve(request((1,), defines=(1,)))
    with pytest.raises(ProtocolError, match=words):
        table.resolve(ReportRequest(sequence=2, samples=(samples,)))


def test_a_stream_defines_a_bounded_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(series_module, "_SERIES", 2)
    with pytest.raises(LimitError, match="more than 2 series"):
        SeriesTable().resolve(request(defines=(1, 2, 3)))
