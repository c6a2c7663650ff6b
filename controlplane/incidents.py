"""Which changes of a workload people are told about, and in which words. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from headrace.types import Observed, Phase, Severity


@dataclass(frozen=True, slots=True)
class Incident:
    """An event in the making."""

    kind: str
    message: str
    severity: Severity | None = None


_TROUBLES = {
    Phase.FAILED: ("workload.failed", Severity.ERROR),
    Phase.CRASH_LOOPING: ("workload.crash_looping", Severity.ERROR),
    Phase.DEGRADED: ("workload.degraded", Severity.WARNING),
    Phase.STOPPED: ("workload.stopped", Severity.WARNING),
    Phase.ORPHANED: ("workload.orphaned", Severity.WARNING),
}
_WELL = (Phase.RUNNING, Phase.GOOD)

Trouble = tuple[Phase, int]
"""A phase of trouble, and the generation that is in it."""


def trouble_of(phase: Phase, observed: Observed) -> Trouble | None:
    """What is wrong; the same trouble is told once, however often the agent tries again."""
    if phase not in _TROUBLES:
        return None
    return phase, observed.attempt.generation if observed.attempt else observed.desired


def incident(*, trouble: Trouble | None, phase: Phase, observed: Observed) -> Incident | None:
    """What there is to tell about a workload that is in this phase now; `trouble` is what was told before."""
    now = trouble_of(phase, observed)
    if now is not None and now != trouble:
        kind, severity = _TROUBLES[phase]
        return Incident(kind, reason(observed, phase), severity)
    if trouble is not None and phase in _WELL:
        return Incident("workload.recovered", f"generation {_running(observed)} is {phase.value}")
    return None


def reason(observed: Observed, phase: Phase) -> str:
    """Why a workload is in its phase, and what runs meanwhile."""
    attempt, running = observed.attempt, observed.running
    if phase is Phase.ORPHANED:
        return "not known to this instance, so it was left running; adopt or delete it"
    if phase is not Phase.FAILED or attempt is None:
        return running.message if running else ""
    step = f"step {attempt.step.value}: " if attempt.step else ""
    faults = "; ".join(f"{fault.plugin}: {fault}" if fault.plugin else str(fault) for fault in attempt.faults[:3])
    more = f" (and {len(attempt.faults) - 3} more)" if len(attempt.faults) > 3 else ""
    meanwhile = f"generation {running.generation} runs on" if running else "nothing runs"
    return f"generation {attempt.generation} failed at {step}{faults or 'no reason was given'}{more}; {meanwhile}"


def _running(observed: Observed) -> int:
    return observed.running.generation if observed.running else 0
