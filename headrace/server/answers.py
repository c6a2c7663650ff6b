"""How a failed call ends: a HeadraceError as its status and detail, anything else logged and as a bland INTERNAL."""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import AsyncIterator
from typing import Any

import grpc
import grpc.aio
import structlog

from headrace import status
from headrace.errors import HeadraceError

log = structlog.get_logger(__name__)

Context = grpc.aio.ServicerContext[bytes, bytes]


async def read(context: Context) -> bytes | None:
    """The next message of a stream; None at its end."""
    data: Any = await context.read()
    return None if data is grpc.aio.EOF else data


@contextlib.asynccontextmanager
async def answering(context: Context, call: str) -> AsyncIterator[None]:
    """Runs a call's body. A defect reaches the caller as a reference that the log has, and nothing else of it."""
    try:
        yield
    except grpc.aio.BaseError:  # the stream is gone, or was aborted: there is nobody to answer
        raise
    except (ConnectionError, TimeoutError):  # the caller left, or was cut: there is nobody to answer either
        pass
    except HeadraceError as error:
        await _abort(context, error)
    except Exception:
        reference = secrets.token_hex(4)
        log.exception("a call failed by a defect", call=call, reference=reference)
        await _abort(context, HeadraceError(f"internal error; the control plane's log has it under {reference}"))


async def _abort(context: Context, error: HeadraceError) -> None:
    detail = ((status.METADATA_KEY, status.detail_of(error)),)
    await context.abort(status.STATUS_BY_CODE[error.code], status.message_of(error), detail)
