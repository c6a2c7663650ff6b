"""What a workload's record and vitals amount to: the situation to plan for, and the truths to report. Pure."""

from __future__ import annotations

from agent.model import Record
from agent.plan import Situation
from agent.vitals import Vitals
from headrace.types import AttemptState, Health, Observed, Running


def situation_of(
    record: Record, vitals: Vitals, *, basis: str, alive: bool, now: float, settle_s: float, retry_at: float
) -> Situation:
    """What to plan for; `basis` is that of the desired content."""
    attempt, run = record.attempt, record.run
    return Situation(
        now=now,
        desired=record.desired,
        basis=basis,
        is_removed=record.removal is not None,
        attempted=record.desired if is_attempted(record) else None,
        attempt_basis=record.attempt_basis,
        attempt_state=attempt.state if attempt else None,
        is_quarantined=attempt is not None and attempt.quarantined,
        retry_at=retry_at,
        running=run.target if run else None,
        running_basis=run.basis if run else "",
        alive=alive,
        healthy_since=vitals.healthy_since,
        settle_s=settle_s,
        good=record.good,
        restart_at=vitals.restart_at,
    )


def observed_of(record: Record, vitals: Vitals, *, alive: bool, trouble: str) -> Observed:
    """What to report."""
    return Observed(
        pipeline=record.pipeline,
        desired=record.desired.generation if record.desired else 0,
        attempt=record.attempt,
        running=_running(record, vitals, alive),
        good=record.good.generation if record.good else 0,
        notes=(*record.notes, trouble) if trouble else record.notes,
    )


def is_attempted(record: Record) -> bool:
    """Whether the attempt on record is one at what is desired."""
    return bool(record.attempt and record.desired and record.attempt.generation == record.desired.generation)


def is_settling(record: Record) -> bool:
    """Whether what is desired runs, and is not good yet."""
    is_ok = record.attempt is not None and record.attempt.state is AttemptState.OK
    return is_ok and is_attempted(record) and record.good != record.desired


def has_other_good(record: Record) -> bool:
    """Whether there is something else to bring back."""
    return bool(record.good and record.desired and record.good.sha256 != record.desired.sha256)


def _running(record: Record, vitals: Vitals, alive: bool) -> Running | None:
    run = record.run
    if run is None:
        return None
    is_down = not alive and vitals.health is not Health.CRASH_LOOPING
    return Running(
        generation=run.target.generation,
        sha256=run.target.sha256,
        health=Health.STOPPED if is_down else vitals.health,
        engine=run.engine,
        since=run.since,
        restarts=record.restarts,
        message=vitals.message,
    )
