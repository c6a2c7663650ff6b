"""How batches lie in a spool file: frames, one after the other, each with length, sequence and checksum. Pure.

A file that a crash cut short ends in the midst of a frame: what is whole before that is good.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

MAX_PAYLOAD = 2 << 20
"""Bytes; some way below what a control plane takes in one message."""

_HEAD = struct.Struct(">IIQ")
HEAD_BYTES = _HEAD.size


@dataclass(frozen=True, slots=True)
class Frame:
    """`end` is where the next one begins."""

    sequence: int
    payload: bytes
    end: int


def frame(sequence: int, payload: bytes) -> bytes:
    """A frame's bytes."""
    return _HEAD.pack(len(payload), _checksum(sequence, payload), sequence) + payload


def frames(data: bytes, at: int = 0) -> Iterator[Frame]:
    """The whole frames from there on, up to the first that is not; their sequences rise one by one."""
    expected = None
    while at + HEAD_BYTES <= len(data):
        size, checksum, sequence = _HEAD.unpack_from(data, at)
        end = at + HEAD_BYTES + size
        payload = data[at + HEAD_BYTES : end]
        if size > MAX_PAYLOAD or len(payload) < size or checksum != _checksum(sequence, payload):
            return
        if expected is not None and sequence != expected:
            return
        yield Frame(sequence, payload, end)
        at, expected = end, sequence + 1


def _checksum(sequence: int, payload: bytes) -> int:
    return zlib.crc32(payload, zlib.crc32(sequence.to_bytes(8, "big")))
