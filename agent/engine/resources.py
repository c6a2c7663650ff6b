"""Things that outlive one configuration: shared by key, counted, released with the last holder.

A reloaded input takes over what its predecessor knows (read positions, an open database) by asking for the same key.
Used from the event loop's thread only.
"""

from collections.abc import Callable, Hashable
from typing import Any, Protocol, TypeVar


class Closable(Protocol):
    """What can be shared."""

    def close(self) -> None:
        """Release it; called once."""


Shared = TypeVar("Shared", bound=Closable)


class Resources:
    """A table of shared things and how many hold each."""

    def __init__(self) -> None:
        self._held: dict[Hashable, tuple[Any, int]] = {}

    def acquire(self, key: Hashable, make: Callable[[], Shared]) -> Shared:
        """The thing of that key, made if nobody holds it yet. What `make` raises passes through and nothing is held."""
        thing, holders = self._held.get(key) or (make(), 0)
        self._held[key] = (thing, holders + 1)
        shared: Shared = thing
        return shared

    def release(self, key: Hashable) -> None:
        """Give one hold back; the last one closes the thing."""
        thing, holders = self._held.pop(key)
        if holders > 1:
            self._held[key] = (thing, holders - 1)
        else:
            thing.close()

    def __len__(self) -> int:
        return len(self._held)
