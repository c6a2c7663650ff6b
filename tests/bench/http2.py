"""One gRPC stream on a TCP connection of its own, by hand: the cheapest client that a real gRPC server takes for one.

The load generator shares two cores with what it measures, so a client must cost less than the server does. This one
knows the handful of HTTP/2 frames that a gRPC server sends, opens all windows wide at the start, and never looks into
headers. Not for products: it sends less than a window in its life, which `send` checks, and believes what it is told.
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Mapping

_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_DATA, _HEADERS, _RESET, _SETTINGS, _PING, _GO_AWAY, _WINDOW_UPDATE = 0, 1, 3, 4, 6, 7, 8
_ACK = _END_STREAM = 1
_END_HEADERS = 4
_NO_PUSH, _INITIAL_WINDOW = 2, 4
_WIDE, _NARROW = (1 << 31) - 1, (1 << 16) - 1
_STREAM = 1


def frame(message: bytes) -> bytes:
    """A gRPC message as a DATA frame; every connection's stream has the same number, so all can share the bytes."""
    return _frame(_DATA, 0, b"\0" + struct.pack(">I", len(message)) + message, stream=_STREAM)


def opening(authority: str, path: str, metadata: Mapping[str, str], *, scheme: str = "http") -> bytes:
    """All that goes before the first message."""
    settings = struct.pack(">HIHI", _NO_PUSH, 0, _INITIAL_WINDOW, _WIDE)
    headers = [
        b"\x83",  # :method POST, of the static table
        b"\x87" if scheme == "https" else b"\x86",
        b"\x04" + _string(path),  # :path
        b"\x01" + _string(authority),  # :authority
        *(b"\x00" + _string(name) + _string(value) for name, value in metadata.items()),
        b"\x00" + _string("te") + _string("trailers"),
        b"\x00" + _string("content-type") + _string("application/grpc"),
    ]
    return (
        _PREFACE
        + _frame(_SETTINGS, 0, settings)
        + _frame(_WINDOW_UPDATE, 0, struct.pack(">I", _WIDE - _NARROW))
        + _frame(_HEADERS, _END_HEADERS, b"".join(headers), stream=_STREAM)
    )


class Stream(asyncio.Protocol):
    """The stream; who derives from it says what to do when messages come and when it ends."""

    __slots__ = ("_body", "_credit", "_rest", "_transport", "is_open", "received_bytes", "sent_bytes")

    def __init__(self) -> None:
        self.is_open = False
        self.sent_bytes = self.received_bytes = 0
        """Of the connection: frames, headers and all."""
        self._credit = _NARROW
        self._body = self._rest = b""
        self._transport: asyncio.Transport | None = None

    def opened(self) -> bytes:
        """What to send first: an `opening` and a `frame`."""
        raise AssertionError("to be overridden")

    def message(self, data: bytes) -> None:
        """A message has come."""

    def ended(self, why: str) -> None:
        """The stream is over, though `close` was not called."""

    def send(self, framed: bytes) -> None:
        """Sends a `frame`."""
        assert self._transport is not None
        self._credit -= len(framed)
        assert self._credit > 0, "more was sent than a window takes, and this client does not count updates"
        self.sent_bytes += len(framed)
        self._transport.write(framed)

    def close(self) -> None:
        """Closes the connection without a word."""
        self.is_open = False
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self.is_open = True
        self._credit, self._body, self._rest = _NARROW, b"", b""
        first = self.opened()
        self.sent_bytes += len(first)
        transport.write(first)

    def connection_lost(self, error: Exception | None) -> None:
        self._end(f"connection lost: {error}")

    def data_received(self, data: bytes) -> None:
        self.received_bytes += len(data)
        data = self._rest + data if self._rest else data
        at, end = 0, len(data)
        while end - at >= 9:
            start = at + 9
            stop = start + int.from_bytes(data[at : at + 3], "big")
            if stop > end:
                break
            self._take(data[at + 3], data[at + 4], data[start:stop])
            at = stop
        self._rest = data[at:] if at < end else b""

    def _take(self, kind: int, flags: int, payload: bytes) -> None:
        if kind == _DATA:
            self._take_data(payload)
        elif kind == _SETTINGS and not flags & _ACK:
            self._write(_frame(_SETTINGS, _ACK, b""))
        elif kind == _PING and not flags & _ACK:
            self._write(_frame(_PING, _ACK, payload))
        elif kind == _RESET:
            self._end(f"reset with code {int.from_bytes(payload[:4], 'big')}")
        elif kind == _GO_AWAY:
            self._end("go away")
        if flags & _END_STREAM and kind in (_DATA, _HEADERS):
            self._end("ended by the server")

    def _take_data(self, payload: bytes) -> None:
        body = self._body + payload if self._body else payload
        while len(body) >= 5:
            stop = 5 + int.from_bytes(body[1:5], "big")
            if stop > len(body):
                break
            self.message(body[5:stop])
            body = body[stop:]
        self._body = body

    def _write(self, data: bytes) -> None:
        if self.is_open and self._transport is not None:
            self.sent_bytes += len(data)
            self._transport.write(data)

    def _end(self, why: str) -> None:
        if self.is_open:
            self.close()
            self.ended(why)


def _frame(kind: int, flags: int, payload: bytes, *, stream: int = 0) -> bytes:
    return len(payload).to_bytes(3, "big") + bytes((kind, flags)) + stream.to_bytes(4, "big") + payload


def _string(text: str) -> bytes:
    """A literal of HPACK, uncompressed."""
    raw = text.encode()
    if len(raw) < 127:
        return bytes((len(raw),)) + raw
    rest, head = len(raw) - 127, b"\x7f"
    while rest >= 128:
        head += bytes((rest % 128 + 128,))
        rest //= 128
    return head + bytes((rest,)) + raw
