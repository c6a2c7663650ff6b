"""The one table between `headrace.errors` and grpc statuses, both directions.

A failed call carries the error's message as its details, and its code, faults and number to confirm as an `ErrorDetail`
in trailing metadata. Whoever lacks the detail (a proxy answered, or somebody else's server) still gets an error of the
nearest kind from the status alone.
"""

from __future__ import annotations

import grpc

from headrace import codec, errors
from headrace.codec import ErrorDetail
from headrace.errors import HeadraceError

METADATA_KEY = "headrace-error-bin"
# Trailing metadata has a hard bound at both ends; see `headrace.connection.METADATA_BYTES`.
_DETAIL_BYTES = 64 << 10
_MESSAGE_CHARACTERS = 4096

STATUS_BY_CODE: dict[str, grpc.StatusCode] = {
    "internal": grpc.StatusCode.INTERNAL,
    "invalid": grpc.StatusCode.INVALID_ARGUMENT,
    "limit": grpc.StatusCode.OUT_OF_RANGE,
    "not_found": grpc.StatusCode.NOT_FOUND,
    "conflict": grpc.StatusCode.ABORTED,
    "confirm": grpc.StatusCode.FAILED_PRECONDITION,
    "unauthenticated": grpc.StatusCode.UNAUTHENTICATED,
    "forbidden": grpc.StatusCode.PERMISSION_DENIED,
    "overloaded": grpc.StatusCode.RESOURCE_EXHAUSTED,
    "unavailable": grpc.StatusCode.UNAVAILABLE,
    "deadline": grpc.StatusCode.DEADLINE_EXCEEDED,
    "protocol": grpc.StatusCode.INVALID_ARGUMENT,
}
# What the core says when a connection does not come about, and what that means to whoever wanted it.
_NO_CONNECTION = {
    "WRONG_VERSION_NUMBER": "it does not speak TLS there",
    "CERTIFICATE_VERIFY_FAILED": "its TLS certificate is not by an authority that is trusted here",
    "Hostname Verification Check": "its TLS certificate is for another name",
    "create security handshaker": "the TLS files given here are not certificates and keys in PEM",
    "Socket closed": "it closed the connection at once; it may want TLS, or a client certificate",
}
_CUT_SHORT = ("http2 header with status: 413", "writes failed due to stream closure", "Internal error from Core")
"""What the core says when the other end answered before it had everything, as nginx does when a body is too large."""
_CODE_BY_STATUS = {status: code for code, status in STATUS_BY_CODE.items()} | {
    grpc.StatusCode.INVALID_ARGUMENT: "invalid",
    grpc.StatusCode.ALREADY_EXISTS: "conflict",
    # No such method: not a server of ours, or of another version.
    grpc.StatusCode.UNIMPLEMENTED: "protocol",
    # A stream that was reset or cancelled by the other end or by what stands between, not by us.
    grpc.StatusCode.CANCELLED: "unavailable",
}


def error_class(code: str) -> type[HeadraceError]:
    """The class of a code; the base for one that this version does not know."""
    return _CLASSES.get(code, HeadraceError)


def detail_of(error: HeadraceError) -> bytes:
    """The detail for the trailing metadata; the last faults are left out where all of them would not fit."""
    faults = error.faults
    while True:
        detail = codec.encode(ErrorDetail(code=error.code, faults=faults, confirm=error.confirm))
        if len(detail) <= _DETAIL_BYTES or not faults:
            return detail
        faults = faults[: len(faults) // 2]


def message_of(error: HeadraceError) -> str:
    """The status's details, bounded."""
    text = error.message
    return text if len(text) <= _MESSAGE_CHARACTERS else f"{text[:_MESSAGE_CHARACTERS]}…"


def error_of(failure: grpc.aio.AioRpcError, *, target: str, hint: str = "") -> HeadraceError:
    """The error that a failed call stands for; `target` and `hint` go into the text when nobody answered."""
    status, text = failure.code(), failure.details() or ""
    detail = _detail(failure)
    if detail is not None:
        return error_class(detail.code)(text, faults=detail.faults, confirm=detail.confirm)
    was_cut = any(sign in text for sign in _CUT_SHORT)
    code = "unavailable" if was_cut else _CODE_BY_STATUS.get(status, "internal")
    match code:
        case "unavailable" if was_cut:
            text = (
                f"{target} ended the call before all of it was sent; an ingress on the way may let none through "
                "that is as large, nginx more than its client_max_body_size"
            )
        case "unavailable":
            text = f"cannot reach the control plane at {target} ({_plain(text)}){'; ' if hint else ''}{hint}"
        case "deadline":
            text = f"{target} did not answer in time"
        case "protocol":
            text = f"{target} does not serve this call: {text or 'unknown method'}; is it a control plane, and as new?"
        case _:
            text = f"{target} answered {status.name}: {text}"
    return error_class(code)(text)


def _detail(failure: grpc.aio.AioRpcError) -> ErrorDetail | None:
    for key, value in failure.trailing_metadata() or ():
        if key == METADATA_KEY and isinstance(value, bytes):
            try:
                return codec.decode(ErrorDetail, value)
            except errors.ProtocolError:
                return None
    return None


def _plain(details: str) -> str:
    """The core's wording without its prefix, which names the address once more."""
    if details.startswith("failed to connect"):
        for sign, meaning in _NO_CONNECTION.items():
            if sign in details:
                return meaning
    return details.rsplit(": ", 1)[-1].strip() or "no reason given"


def _subclasses(cls: type[HeadraceError]) -> list[type[HeadraceError]]:
    return [cls, *(below for direct in cls.__subclasses__() for below in _subclasses(direct))]


_CLASSES = {cls.code: cls for cls in reversed(_subclasses(HeadraceError))}
