"""Whether a change has arrived: the rules of `--wait`, without any I/O. Pure; one task at a time.

An agent that matches is waited for when it is connected, or enrolled less than a minute ago. One that was lost before
is only listed; one that is lost meanwhile (it restarts, perhaps) is waited for still, one that is revoked has failed.
A failure that the agent retries by itself (a port taken, a disk full) is waited for; one that it does not ends it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING

from headrace.cli.exits import Exit
from headrace.types import AgentState, Attempt, Observed, Phase

if TYPE_CHECKING:
    from headrace.api import Pipeline, Workload

NEWLY_ENROLLED = timedelta(seconds=60)


class Goal(StrEnum):
    """What `--wait` waits for: the engine runs it, or it ran long enough to be called good."""

    RUNNING = "running"
    GOOD = "good"


class Verdict(StrEnum):
    """On one agent."""

    WAITING = "waiting"
    DONE = "done"
    FAILED = "failed"
    AWAY = "away"
    """Not connected, and not waited for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """Where one agent is with one pipeline, and in words."""

    pipeline: str
    agent_id: str
    agent: str
    verdict: Verdict
    phase: Phase
    text: str


_DONE: Mapping[Goal, frozenset[Phase]] = {
    Goal.RUNNING: frozenset({Phase.RUNNING, Phase.GOOD, Phase.DEGRADED}),
    Goal.GOOD: frozenset({Phase.GOOD}),
}


class Rollout:
    """One pipeline on its way, fed with each state of it that the control plane tells."""

    def __init__(self, pipeline: str, *, revision: int, goal: Goal) -> None:
        self.pipeline = pipeline
        self.goal = goal
        self.revision = revision
        self._workloads: tuple[Workload, ...] | None = None
        self._awaited: set[str] = set()

    @property
    def nobody(self) -> str:
        """What is to be said when there was nobody to wait for."""
        return f"warning: {self.pipeline}: no agent that matches is connected, so nothing runs it yet"

    def take(self, pipeline: Pipeline) -> None:
        """A newer state; one from before the change is ignored, one from after a later change is what counts now."""
        if pipeline.revision < self.revision:
            return
        self.revision = pipeline.revision
        self._workloads = tuple(workload for workload in pipeline.workloads if workload.generation)
        self._awaited.update(w.agent_id for w in self._workloads if w.agent_state is AgentState.CONNECTED)

    def standings(self, *, now: datetime, enrolled: Mapping[str, datetime]) -> tuple[Standing, ...] | None:
        """Every matching agent, by name; None before anything was told. `enrolled` says when, by agent id."""
        if self._workloads is None:
            return None
        new = {agent_id for agent_id, at in enrolled.items() if now - at < NEWLY_ENROLLED}
        ordered = sorted(self._workloads, key=lambda workload: (workload.agent_name, workload.agent_id))
        return tuple(self._standing(workload, is_new=workload.agent_id in new) for workload in ordered)

    def _standing(self, workload: Workload, *, is_new: bool) -> Standing:
        was_awaited = workload.agent_id in self._awaited
        verdict, text = self._judge(workload)
        match workload.agent_state:
            case AgentState.CONNECTED:
                pass
            case _ if was_awaited and verdict is Verdict.DONE:
                pass
            case AgentState.PENDING | AgentState.SUSPECT if is_new or was_awaited:
                text = f"{text}; agent is {workload.agent_state}"
            case AgentState.LOST if was_awaited:
                verdict, text = Verdict.WAITING, f"{text}; agent is lost, and may come back"
            case _ if was_awaited:
                verdict, text = Verdict.FAILED, f"agent is {workload.agent_state}"
            case _:
                verdict, text = Verdict.AWAY, f"agent is {workload.agent_state}, not waited for"
        return Standing(
            pipeline=self.pipeline,
            agent_id=workload.agent_id,
            agent=workload.agent_name or workload.agent_id,
            verdict=verdict,
            phase=workload.phase,
            text=text,
        )

    def _judge(self, workload: Workload) -> tuple[Verdict, str]:
        observed = workload.observed
        if workload.phase in _DONE[self.goal]:
            return Verdict.DONE, f"{workload.phase}: {_runs(observed)}"
        attempt = observed.attempt if observed else None
        if workload.phase is Phase.FAILED and attempt is not None:
            text = f"{_failure(attempt)}; {_runs(observed)}"
            if attempt.quarantined or attempt.retry_at is None:
                return Verdict.FAILED, text
            return Verdict.WAITING, f"{text}; tries again"
        if workload.phase is Phase.CRASH_LOOPING:
            return Verdict.FAILED, f"{workload.phase}: {_runs(observed)}"
        return Verdict.WAITING, workload.phase.value


def _failure(attempt: Attempt) -> str:
    where = f"failed at {attempt.step}" if attempt.step else "failed"
    return f"{where}: {'; '.join(describe_fault(f.plugin, f.message) for f in attempt.faults) or 'no reason given'}"


def describe_fault(plugin: str, message: str) -> str:
    """The message, with the plugin in front unless it names it already."""
    return message if not plugin or plugin in message else f"{plugin}: {message}"


def _runs(observed: Observed | None) -> str:
    running = observed.running if observed else None
    if running is None:
        return "nothing runs"
    message = f", {running.message}" if running.message else ""
    return f"generation {running.generation} runs ({running.health}{message})"


def exit_for(standings: Iterable[Standing], *, timed_out: bool) -> Exit:
    """How a wait ends: by the agents that were waited for."""
    verdicts = [standing.verdict for standing in standings if standing.verdict is not Verdict.AWAY]
    if Verdict.FAILED in verdicts:
        return Exit.REFUSED if all(verdict is Verdict.FAILED for verdict in verdicts) else Exit.SOME_FAILED
    return Exit.TIMED_OUT if timed_out else Exit.DONE
