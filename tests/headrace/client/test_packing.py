"""Packing of batches: a series once per stream, and nothing changed on the way."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from headrace.client.packing import MAX_SERIES, Packer
from headrace.messages import ReportRequest, Samples, Series

START = datetime(2026, 1, 1, tzinfo=UTC)


def batch(sequence: int, *names: str, shift: int = 0) -> ReportRequest:
    """Each batch numbers its series for itself."""
    ids = range(shift, shift + len(names))
    return ReportRequest(
        sequence=sequence,
        series=tuple(Series(id=id, name=name, tags={"plugin": name}) for id, name in zip(ids, names, strict=True)),
        samples=(Samples(at=START + timedelta(seconds=sequence), series=tuple(ids), values=tuple(map(float, ids))),),
    )


def test_a_series_is_defined_once_per_stream() -> None:
    packer = Packer()
    first = packer.pack([batch(1, "a", "b"), batch(2, "b", "c", shift=7)])
    assert first.sequence == 2
    assert [(series.id, series.name) for series in first.series] == [(1, "a"), (2, "b"), (3, "c")]
    assert [samples.series for samples in first.samples] == [(1, 2), (2, 3)]
    packer.sent(first)
    second = packer.pack([batch(3, "c", "d")])
    assert [(series.id, series.name) for series in second.series] == [(4, "d")]
    assert second.samples[0].series == (3, 4)


def test_what_was_not_sent_is_defined_again() -> None:
    packer = Packer()
    assert packer.pack([batch(1, "a")]) == packer.pack([batch(1, "a")])


def test_a_stream_has_room_for_so_many_series() -> None:
    packer = Packer()
    packer.sent(packer.pack([batch(1, *map(str, range(MAX_SERIES)))]))
    assert packer.has_room(packer.pack([batch(2, "5")]))
    assert not packer.has_room(packer.pack([batch(3, "new")]))


@given(st.lists(st.lists(st.sampled_from("abcdef"), unique=True, max_size=6), min_size=1, max_size=8), st.data())
def test_whoever_follows_the_definitions_reads_what_was_measured(names: list[list[str]], data: st.DataObject) -> None:
    batches = [batch(n + 1, *each, shift=data.draw(st.integers(0, 9))) for n, each in enumerate(names)]
    packer, known, read, at = Packer(), dict[int, str](), [], 0
    while at < len(batches):
        count = data.draw(st.integers(1, 3))
        request = packer.pack(batches[at : at + count])
        packer.sent(request)
        at += count
        assert not known.keys() & {series.id for series in request.series}
        known |= {series.id: series.name for series in request.series}
        read += [(samples.at, [known[id] for id in samples.series], samples.values) for samples in request.samples]
    sent = [(each.samples[0].at, names[n], each.samples[0].values) for n, each in enumerate(batches)]
    assert read == sent
