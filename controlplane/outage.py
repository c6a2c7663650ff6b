"""Outages of the store: who keeps no one waiting tries again until it is back, with full jitter."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from typing import TypeVar

import structlog
import tenacity

from headrace.errors import UnavailableError
from headrace.retry import FullJitter

T = TypeVar("T")

_LONGEST_S = 5.0

log = structlog.get_logger(__name__)


async def outlast(action: Callable[[], Awaitable[T]], *, what: str, rng: random.Random) -> T:
    """Runs an action until the store lets it; every other error is the caller's."""
    attempts = tenacity.AsyncRetrying(
        retry=tenacity.retry_if_exception_type(UnavailableError),
        wait=FullJitter(rng, first=0.1, maximum=_LONGEST_S),
        before_sleep=lambda state: _say(state, what),
    )
    async for attempt in attempts:
        with attempt:
            return await action()
    raise AssertionError("unreachable: it tries for ever")


def _say(state: tenacity.RetryCallState, what: str) -> None:
    error = state.outcome.exception() if state.outcome else None
    log.warning("state store unavailable", waiting=what, attempt=state.attempt_number, error=str(error))
