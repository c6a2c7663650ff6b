"""The bytes of remote write: snappy blocks that any reader takes, and requests with each series once."""

from __future__ import annotations

from typing import Any

import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from hypothesis import given
from hypothesis import strategies as st

from agent.engine.metrics import Histogram
from agent.engine.points import point, snapshot
from agent.engine.remote_write import write_request
from agent.engine.snappy import framed

SECOND = 1_000_000_000


def unframed(block: bytes) -> bytes:
    """A reader of snappy's block format that takes literals only, by the format's description."""
    length = shift = at = 0
    while True:
        length |= (block[at] & 0x7F) << shift
        shift, at = shift + 7, at + 1
        if block[at - 1] < 0x80:
            break
    out = bytearray()
    while at < len(block):
        assert block[at] & 3 == 0, "a copy, where literals were promised"
        size = (block[at] >> 2) + 1
        at += 1
        if size > 60:
            more = size - 60
            size = int.from_bytes(block[at : at + more], "little") + 1
            at += more
        out += block[at : at + size]
        at += size
    assert len(out) == length
    return bytes(out)


@given(st.integers(0, 200_000) | st.sampled_from([0, 1, 59, 60, 61, 255, 256, 257, 65535, 65536, 65537]))
def test_a_block_of_any_length_is_read_back(length: int) -> None:
    data = bytes(number * 31 & 0xFF for number in range(997)) * (length // 997 + 1)
    block = framed(data[:length])
    assert unframed(block) == data[:length]
    assert len(block) <= length + 8 + 3 * (length // 65536 + 1)


def test_short_blocks_are_as_the_format_describes_them() -> None:
    assert framed(b"") == b"\x00"
    assert framed(b"abc") == b"\x03\x08abc"
    assert framed(b"x" * 61)[:3] == b"\x3d\xf0\x3c"


def _schema() -> Any:
    """WriteRequest, made of its description with protobuf itself."""
    file = descriptor_pb2.FileDescriptorProto(name="write.proto", package="t", syntax="proto3")
    shapes = {
        "Label": [("name", 1, 9, 1, None), ("value", 2, 9, 1, None)],
        "Sample": [("value", 1, 1, 1, None), ("timestamp", 2, 3, 1, None)],
        "TimeSeries": [("labels", 1, 11, 3, ".t.Label"), ("samples", 2, 11, 3, ".t.Sample")],
        "WriteRequest": [("timeseries", 1, 11, 3, ".t.TimeSeries")],
    }
    for name, fields in shapes.items():
        message = file.message_type.add(name=name)
        for field, number, kind, label, type_name in fields:
            message.field.add(name=field, number=number, type=kind, label=label, type_name=type_name)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("t.WriteRequest"))


WriteRequest = _schema()


def read(data: bytes) -> list[tuple[dict[str, str], list[tuple[int, float]]]]:
    request = WriteRequest.FromString(data)
    for series in request.timeseries:
        names = [label.name for label in series.labels]
        assert names == sorted(set(names))
    return [
        ({label.name: label.value for label in series.labels}, [(s.timestamp, s.value) for s in series.samples])
        for series in request.timeseries
    ]


def test_samples_of_one_series_are_together_in_time() -> None:
    batch = snapshot("t", 2 * SECOND, [point(("a.b", "gauge", "", {"Z": "z", "x": "", "c-d": "é"}, 2.5), "s")])
    batch.extend(snapshot("t", 1 * SECOND, [point(("a.b", "gauge", "", {"Z": "z", "c-d": "é"}, 1), "s")]))
    batch.extend(snapshot("t", 2 * SECOND, [point(("n", "counter", "", {"job": "own"}, 3), "s")]))
    assert read(write_request(batch, {"job": "given"})) == [
        ({"Z": "z", "__name__": "a_b", "c_d": "é", "job": "given"}, [(1000, 1.0), (2000, 2.5)]),
        ({"__name__": "n", "job": "own"}, [(2000, 3.0)]),
    ]


def test_a_histogram_is_a_series_for_each_bound_its_sum_and_its_count() -> None:
    histogram = Histogram((0.5,))
    histogram.add(0.25)
    histogram.add(7)
    batch = snapshot("t", SECOND, [point(("h", "histogram", "", {}, histogram), "s")])
    assert [(labels, samples[0][1]) for labels, samples in read(write_request(batch, {}))] == [
        ({"__name__": "h_bucket", "le": "0.5"}, 1.0),
        ({"__name__": "h_bucket", "le": "+Inf"}, 2.0),
        ({"__name__": "h_sum"}, 7.25),
        ({"__name__": "h_count"}, 2.0),
    ]


@pytest.mark.parametrize("value", ["NaN", "+Inf", "-Inf", 0, -1.5, 1 << 60])
def test_every_number_has_its_bytes(value: Any) -> None:
    batch = snapshot("t", SECOND, [point(("a", "gauge", "", {}, float(value)), "s")])
    ((_, ((_, found),)),) = read(write_request(batch, {}))
    assert found == float(value) or (found != found and value == "NaN")
