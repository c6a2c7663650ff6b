"""Who the call that is under way is of, so that whatever it writes says so without every rule passing it on.

A call is served by one task, and what is set here lives as long as that. Work that a call leaves to others, such as a
writer of batches, is not its own any more: an event takes this only where it names somebody who acted.
"""

from __future__ import annotations

from contextvars import ContextVar
from dataclasses import dataclass

from headrace.types import KnownBy


@dataclass(frozen=True, slots=True, kw_only=True)
class Attribution:
    """By what a caller is known, and the address that the call came from."""

    known_by: KnownBy | None = None
    source: str = ""


NOBODY = Attribution()
_CURRENT: ContextVar[Attribution] = ContextVar("attribution", default=NOBODY)


def attribute(attribution: Attribution) -> None:
    """From here on this task is somebody's call."""
    _CURRENT.set(attribution)


def current() -> Attribution:
    """Of the call that this task serves; `NOBODY` where it serves none."""
    return _CURRENT.get()
