"""Every error that crosses a boundary: one base, one code each.

The code is what edges translate (gRPC status, HTTP status, exit code), in one table each; the text says what, which
one, why, and what to do. `faults` carries every finding of a refused configuration, not only the first.
"""

from __future__ import annotations

from collections.abc import Sequence

from headrace.types import Fault


class HeadraceError(Exception):
    """Base of all; on its own it is a defect of ours."""

    code = "internal"

    def __init__(self, message: str, *, faults: Sequence[Fault] = (), confirm: int = 0) -> None:
        super().__init__(message)
        self.message = message
        self.faults = tuple(faults)
        self.confirm = confirm


class InvalidError(HeadraceError):
    """What was given cannot be accepted, whoever asks and whenever."""

    code = "invalid"


class LimitError(InvalidError):
    """Something is larger, or more, than a limit that the message names."""

    code = "limit"


class NotFoundError(HeadraceError):
    """There is no such thing."""

    code = "not_found"


class ConflictError(HeadraceError):
    """It changed meanwhile, or exists already."""

    code = "conflict"


class ConfirmError(HeadraceError):
    """The change would take pipelines away from more agents than allowed; `confirm` is the number to give."""

    code = "confirm"


class UnauthenticatedError(HeadraceError):
    """The credential is missing, unknown, expired or revoked."""

    code = "unauthenticated"


class ForbiddenError(HeadraceError):
    """The credential is good, but not for this."""

    code = "forbidden"


class OverloadedError(HeadraceError):
    """Not now: try again later."""

    code = "overloaded"


class UnavailableError(HeadraceError):
    """The other side, or something that it needs, cannot be reached."""

    code = "unavailable"


class DeadlineError(HeadraceError):
    """It did not happen in time."""

    code = "deadline"


class ProtocolError(HeadraceError):
    """The other side broke the protocol, or speaks another version of it."""

    code = "protocol"
