"""Records in what a client sends raw, in pieces of any size: JSON values, or text between separators (pure).

A splitter keeps what is not complete yet; `pending` is how much that is, for its owner to bound: a call costs as much
as is pending and fed, and a JSON value is never scanned twice.
"""

import re
from typing import Any, Protocol

import orjson

_SPACE = re.compile(rb"[\s\x00]*")
_OUTSIDE = re.compile(rb'["{}\[\]]')
_INSIDE = re.compile(rb'["\\]')
_LENGTH = re.compile(rb"\n?([0-9]*)( ?)")
_MOST_DIGITS = 9


class Splitter(Protocol):
    """Cuts a stream."""

    @property
    def pending(self) -> int:
        """Bytes of the last piece that are kept for later."""

    def feed(self, data: bytes) -> tuple[list[Any], str]:
        """What is complete by now, and what is wrong with what follows it, if something is; that is dropped."""


def json_value(data: bytes) -> Any:
    """One JSON value; bytes that are not UTF-8 are replaced. Raises ValueError."""
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError:
        text = data.decode("utf-8", "replace")
        if "\ufffd" not in text:
            raise
        return orjson.loads(text)


class JsonSplitter:
    """Objects and lists one after another, with any white space between them; anything else is wrong."""

    def __init__(self) -> None:
        self._rest = b""
        self._scanned = 0
        self._depth = 0
        self._in_text = False

    @property
    def pending(self) -> int:
        return len(self._rest)

    def feed(self, data: bytes) -> tuple[list[Any], str]:
        buffer = self._rest + data
        values: list[Any] = []
        at = slow_until = 0
        while True:
            if not self._scanned:
                at = _end_of(_SPACE.match(buffer, at))
                if at == len(buffer):
                    break
                if at >= slow_until and (end := buffer.find(b"\n", at)) >= 0:  # most often a value is a line
                    slow_until = end + 1
                    try:
                        value = orjson.loads(buffer[at:end])
                    except orjson.JSONDecodeError:
                        value = None
                    if isinstance(value, dict | list):
                        values.append(value)
                        at = end + 1
                        continue
                if buffer[at] not in b"{[":
                    return values, self._drop("neither a JSON object nor a list")
            found = self._end(buffer, at)
            if found is None:
                break
            try:
                values.append(json_value(buffer[at:found]))
            except ValueError:
                return values, self._drop("invalid JSON")
            at = found
        self._rest = buffer[at:]
        return values, ""

    def _end(self, buffer: bytes, start: int) -> int | None:
        """Where the value ends that starts there, or None; goes on where it stopped the last time."""
        at = start + self._scanned
        while found := (_INSIDE if self._in_text else _OUTSIDE).search(buffer, at):
            at, char = found.end(), found[0]
            if char == b"\\":
                at += 1
            elif char == b'"':
                self._in_text = not self._in_text
            elif char in b"{[":
                self._depth += 1
            else:
                self._depth -= 1
                if not self._depth:
                    self._scanned = 0
                    return at
        self._scanned = max(at, len(buffer)) - start
        return None

    def _drop(self, why: str) -> str:
        self._rest = b""
        self._scanned = self._depth = 0
        self._in_text = False
        return why


class TextSplitter:
    """What is between separators; empty pieces are left out. `other`, one byte, separates, too, where one does."""

    def __init__(self, separator: bytes, other: bytes = b"") -> None:
        self._separator = separator
        self._other = other
        self._rest = b""

    @property
    def pending(self) -> int:
        return len(self._rest)

    def feed(self, data: bytes) -> tuple[list[Any], str]:
        if self._other:
            data = data.replace(self._other, self._separator)
        *whole, self._rest = (self._rest + data).split(self._separator)
        return [piece for piece in whole if piece], ""


class CountedSplitter:
    """Pieces after their length in digits and a space (RFC 6587); a line feed after one is skipped.

    A length above `limit` is wrong, and so is what is no length: nothing after it can be made out.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._rest = b""

    @property
    def pending(self) -> int:
        return 0  # its own limit bounds it

    def feed(self, data: bytes) -> tuple[list[Any], str]:
        buffer, at, found = self._rest + data, 0, list[Any]()
        while head := _LENGTH.match(buffer, at):
            digits, end = head[1], head.end()
            if not head[2] and end == len(buffer) and len(digits) <= _MOST_DIGITS:  # more of it may come
                break
            if not head[2] or not 0 < len(digits) <= _MOST_DIGITS:
                return found, "no length of a message"
            if int(digits) > self._limit:
                return found, f"a message of {int(digits)} bytes is longer than the buffer ({self._limit} bytes)"
            if end + int(digits) > len(buffer):
                break
            found.append(buffer[end : end + int(digits)])
            at = end + int(digits)
        self._rest = buffer[at:]
        return [piece for piece in found if piece], ""


def _end_of(found: re.Match[bytes] | None) -> int:
    assert found is not None  # the expression matches nothing, too
    return found.end()
