"""What the API server says of events: pages of a list, and the lines of a watch. Pure."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import orjson

from agent.engine.record import NANOSECONDS, Record

LONGEST = 4_000_000
"""Bytes of a line; no event is that large."""


class Gone(Exception):
    """The version that was asked for is too old for the server: list anew."""


class NotUnderstood(ValueError):
    """An answer that is not what was asked for."""


@dataclass(frozen=True, slots=True)
class Event:
    """`version` grows whenever the event changes; `time` is 0 where it says none."""

    uid: str
    version: int
    time: int
    record: Record


@dataclass(frozen=True, slots=True)
class Page:
    """A part of a list; `token` asks for the next one, `version` is where to watch from after the last."""

    events: list[Event]
    version: int
    token: str


def read_page(body: bytes) -> Page:
    """Raises NotUnderstood."""
    try:
        found = orjson.loads(body)
    except orjson.JSONDecodeError:
        raise NotUnderstood("the list of events is no JSON") from None
    about, items = _map(_map(found).get("metadata")), _map(found).get("items")
    if not isinstance(items, list):
        raise NotUnderstood("the list of events has no items")
    events = [event for event in map(_event, items) if event is not None]
    token = about.get("continue")
    return Page(events, _version(about), token if isinstance(token, str) else "")


def read_line(line: bytes) -> tuple[int, Event | None]:
    """A line of a watch: the version that it stands at (0: none), and the event if it is one that came or changed.

    Raises Gone and NotUnderstood.
    """
    try:
        found = orjson.loads(line)
    except orjson.JSONDecodeError:
        raise NotUnderstood("a line of the watch is no JSON") from None
    kind, item = _map(found).get("type"), _map(_map(found).get("object"))
    if kind == "ERROR":
        if item.get("code") == 410:
            raise Gone
        raise NotUnderstood(f"the watch ended: {item.get('message') or item.get('reason') or item.get('code')}")
    return _version(_map(item.get("metadata"))), _event(item) if kind in ("ADDED", "MODIFIED") else None


class Lines:
    """Whole lines of what comes in pieces."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> list[bytes]:
        """The lines that end in `data`. Raises NotUnderstood for one that is too long."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        if len(self._rest) > LONGEST:
            raise NotUnderstood(f"a line of the watch has more than {LONGEST} bytes")
        return [line for line in lines if line.strip()]


def _event(item: Any) -> Event | None:
    about = _map(_map(item).get("metadata"))
    uid, version = about.get("uid"), _version(about)
    if not isinstance(uid, str) or not version:
        return None
    times = (item.get("lastTimestamp"), item.get("firstTimestamp"), about.get("creationTimestamp"))
    return Event(uid, version, next((when for text in times if (when := _time(text))), 0), item)


def _time(text: Any) -> int:
    try:
        return int(datetime.strptime(text, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC).timestamp()) * NANOSECONDS
    except (TypeError, ValueError):
        return 0


def _version(about: Record) -> int:
    text = str(about.get("resourceVersion", ""))
    return int(text) if text.isascii() and text.isdigit() else 0


def _map(value: Any) -> Record:
    return value if type(value) is dict else {}
