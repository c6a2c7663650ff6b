"""An attempt on record, from the moment it is wanted to its end. Pure."""

from __future__ import annotations

from datetime import datetime, timedelta

from agent.change import Outcome
from agent.model import Target
from headrace.types import Attempt, AttemptState, Step


def pending(target: Target, now: datetime) -> Attempt:
    """Wanted, and not begun."""
    return Attempt(generation=target.generation, at=now)


def under_way(target: Target, state: AttemptState, step: Step, now: datetime) -> Attempt:
    """Begun."""
    return Attempt(generation=target.generation, state=state, step=step, at=now)


def succeeded(target: Target, now: datetime) -> Attempt:
    """It runs; from here on it settles."""
    return Attempt(generation=target.generation, state=AttemptState.OK, step=Step.SETTLE, at=now)


def failed(target: Target, outcome: Outcome, now: datetime, *, retry_in: float) -> Attempt:
    """It failed; unless that quarantines it, it is made again after so many seconds."""
    return Attempt(
        generation=target.generation,
        state=AttemptState.FAILED,
        step=outcome.step,
        faults=outcome.faults,
        quarantined=outcome.is_quarantined,
        retry_at=None if outcome.is_quarantined else now + timedelta(seconds=retry_in),
        at=now,
    )
