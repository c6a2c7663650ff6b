"""How a failed call ends: a HeadraceError as its status and detail, anything else logged and as a bland INTERNAL."""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable
from email.utils import formatdate
from typing import Any, TypeVar

import grpc
import grpc.aio
import structlog

from headrace import status
from headrace.errors import HeadraceError

log = structlog.get_logger(__name__)

T = TypeVar("T")
Context = grpc.aio.ServicerContext[bytes, bytes]


async def read(context: Context) -> bytes | None:
    """The next message of a stream; None at its end."""
    data: Any = await context.read()
    return None if data is grpc.aio.EOF else data


def answered(call: str, body: Callable[[Any, Context], Awaitable[T]]) -> Callable[[Any, Context], Awaitable[T | None]]:
    """A call's handler out of its body. Of a defect the caller gets a reference that the log has, and nothing else.

    The status is sent when the body is over and its frames are gone: grpc keeps the abort in a cycle, with all that is
    on the stack then, and a caller that is refused must not fill the memory until the collector comes.
    """

    async def serve(request: Any, context: Context) -> T | None:
        try:
            return await body(request, context)
        except grpc.aio.BaseError:  # the stream is gone: there is nobody to answer
            raise
        except (ConnectionError, TimeoutError):  # the caller left, or was cut: there is nobody to answer either
            return None
        except HeadraceError as error:
            refusal = error.with_traceback(None)
        except Exception:
            reference = secrets.token_hex(4)
            log.exception("a call failed by a defect", call=call, reference=reference)
            refusal = HeadraceError(f"internal error; the control plane's log has it under {reference}")
        del request
        refusal.__cause__ = refusal.__context__ = None
        # A caller whose clock is wrong is told by the date, as HTTP tells it.
        detail = ((status.METADATA_KEY, status.detail_of(refusal)), ("date", formatdate(usegmt=True)))
        await context.abort(status.STATUS_BY_CODE[refusal.code], status.message_of(refusal), detail)

    return serve
