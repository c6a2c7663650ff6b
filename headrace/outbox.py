"""What waits to be sent on one stream: one slot per key, latest wins. Pure.

Keys leave in the order in which they were first put, except that `complete` waits until nothing else does, and that a
close takes the place of everything. Its size is bounded by the number of keys, whatever the reader's speed.
"""

from __future__ import annotations

from headrace.messages import Command, Desired, Remove, ServerMessage

COMPLETE = "complete"


def key_of(message: ServerMessage) -> str:
    """The slot of a message: `desired/<pipeline>` for Desired and Remove, `command/<id>`, else the kind's name."""
    match message:
        case Desired() | Remove():
            return f"desired/{message.pipeline}"
        case Command():
            return f"command/{message.id}"
        case _:
            return type(message).__name__.lower()


class Outbox:
    """Slots of prebuilt bytes. Not thread-safe."""

    __slots__ = ("_slots", "closed")

    def __init__(self) -> None:
        self._slots: dict[str, bytes] = {}
        self.closed = False
        """Whether a close was put; nothing is taken in after it."""

    def __len__(self) -> int:
        return len(self._slots)

    def put(self, key: str, data: bytes) -> None:
        """Fills the key's slot; what was there and not sent is dropped."""
        if not self.closed:
            self._slots[key] = data

    def close(self, data: bytes | None = None) -> None:
        """Drops what waits; `data` is the last thing to be sent. Only the first close counts."""
        if not self.closed:
            self.closed = True
            self._slots = {"close": data} if data is not None else {}

    def take(self) -> bytes | None:
        """What to send next, or None."""
        slots = self._slots
        if not slots:
            return None
        key = next(iter(slots))
        data = slots.pop(key)
        if key == COMPLETE and slots:  # others came after it: it goes to the end, at most once per round
            slots[COMPLETE] = data
            key = next(iter(slots))
            data = slots.pop(key)
        return data
