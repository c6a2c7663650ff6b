"""Points as a request of Prometheus's remote write, version 0.1.0: protobuf, encoded by hand (pure).

    message WriteRequest { repeated TimeSeries timeseries = 1; }
    message TimeSeries   { repeated Label labels = 1; repeated Sample samples = 2; }
    message Label        { string name = 1; string value = 2; }
    message Sample       { double value = 1; int64 timestamp = 2; }   // milliseconds

Each series is there once, with its labels in order and its samples in time; a label without a value is none.
"""

from collections.abc import Mapping
from struct import pack

from agent.engine.points import flat
from agent.engine.prometheus import label_name, metric_name
from agent.engine.record import Batch

_MILLISECOND = 1_000_000


def write_request(batch: Batch, labels: Mapping[str, str]) -> bytes:
    """The request for all points of a batch; `labels` are added to each, where it has none of that name."""
    known: dict[tuple[tuple[str, str], ...], dict[int, float]] = {}
    for when, one in zip(batch.times, batch.records, strict=True):
        for name, own, value in flat(one):
            all_labels = {label_name(key): text for key, text in {**labels, **own}.items() if text}
            all_labels["__name__"] = metric_name(name)
            samples = known.setdefault(tuple(sorted(all_labels.items())), {})
            samples[when // _MILLISECOND] = float(value)
    return b"".join(_field(1, _series(own, samples)) for own, samples in known.items())


def _series(labels: tuple[tuple[str, str], ...], samples: Mapping[int, float]) -> bytes:
    shown = b"".join(
        _field(1, _field(1, name.encode()) + _field(2, value.encode("utf-8", "replace"))) for name, value in labels
    )
    return shown + b"".join(
        _field(2, b"\x09" + pack("<d", value) + b"\x10" + _varint(when)) for when, value in sorted(samples.items())
    )


def _field(number: int, content: bytes) -> bytes:
    """A field of bytes, text or a message."""
    return bytes((number << 3 | 2,)) + _varint(len(content)) + content


def _varint(number: int) -> bytes:
    number &= (1 << 64) - 1  # below zero as two's complement
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)
