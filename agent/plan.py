"""What to do next about one workload. Pure and total: a situation in, one action out.

Level, not edge: nothing here remembers how the situation came about. The workload's loop reads the situation, asks,
acts, and asks again until the answer is `Keep`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from agent.model import Target
from headrace.types import AttemptState


@dataclass(frozen=True, slots=True, kw_only=True)
class Situation:
    """What is known. Times are seconds on one monotonic clock.

    `basis` is that of the desired content now (see `agent.model.Record`). `running` is what was started last, `alive`
    whether it still runs; `healthy_since` is when the settling of it began, None when it does not do well.
    `retry_at` and `restart_at` are when a prevented attempt and an ended engine are due again.
    """

    now: float
    desired: Target | None = None
    basis: str = ""
    is_removed: bool = False
    attempted: Target | None = None
    attempt_basis: str = ""
    attempt_state: AttemptState | None = None
    is_quarantined: bool = False
    retry_at: float = 0.0
    running: Target | None = None
    running_basis: str = ""
    alive: bool = False
    healthy_since: float | None = None
    settle_s: float = 5.0
    good: Target | None = None
    restart_at: float = 0.0


@dataclass(frozen=True, slots=True)
class Start:
    """Attempt the target; nothing runs yet."""

    target: Target


@dataclass(frozen=True, slots=True)
class Reload:
    """Attempt the target in the running process."""

    target: Target


@dataclass(frozen=True, slots=True)
class Replace:
    """Attempt the target in a new process: its environment or its engine differs."""

    target: Target


@dataclass(frozen=True, slots=True)
class Acknowledge:
    """The target's content runs already: only the numbers change."""

    target: Target


@dataclass(frozen=True, slots=True)
class Revive:
    """Start again what ran, or bring back what was last good. Not an attempt."""

    target: Target


@dataclass(frozen=True, slots=True)
class Settle:
    """The target has run well for long enough: it is good."""

    target: Target


@dataclass(frozen=True, slots=True)
class Stop:
    """End the engine: the pipeline is removed, or nothing is desired."""


@dataclass(frozen=True, slots=True)
class Keep:
    """Nothing to do, until that time or, when it is None, until something changes."""

    until: float | None = None


Action: TypeAlias = Start | Reload | Replace | Acknowledge | Revive | Settle | Stop | Keep


def plan(at: Situation) -> Action:
    """The next action."""
    if at.is_removed or at.desired is None:
        return Stop() if at.alive else Keep()
    if not _was_attempted(at):
        return _attempt(at, at.desired)
    match at.attempt_state:
        case AttemptState.OK:
            return _keep_up(at, at.desired)
        case AttemptState.FAILED:
            return _live_with_failure(at, at.desired)
    return _attempt(at, at.desired)


def _was_attempted(at: Situation) -> bool:
    return at.attempted == at.desired and at.attempt_basis == at.basis


def _attempt(at: Situation, desired: Target) -> Action:
    if not at.alive:
        return Start(desired)
    if at.running_basis != at.basis:
        return Replace(desired)
    if at.running is not None and at.running.sha256 == desired.sha256:
        return Acknowledge(desired)
    return Reload(desired)


def _keep_up(at: Situation, desired: Target) -> Action:
    if not at.alive:
        return Revive(desired) if at.now >= at.restart_at else Keep(at.restart_at)
    if at.good == desired:
        return Keep()
    if at.healthy_since is None:
        return Keep()
    settled_at = at.healthy_since + at.settle_s
    return Settle(desired) if at.now >= settled_at else Keep(settled_at)


def _live_with_failure(at: Situation, desired: Target) -> Action:
    """The old content runs on if it can; else the last good one comes back, or what ran where none was good yet."""
    due = None if at.is_quarantined else at.retry_at
    if due is not None and at.now >= due:
        return _attempt(at, desired)
    if at.alive:
        return Keep(due)
    fallback = at.good or (at.running if at.running != desired else None)
    if fallback is None:
        return Keep(due)
    if at.now >= at.restart_at:
        return Revive(fallback)
    return Keep(at.restart_at if due is None else min(due, at.restart_at))
