"""Whether a deletion has arrived: the rules of `delete --wait`, without any I/O. Pure; one task at a time.

Every agent that still has the workload when it is looked at first, and is connected, is waited for until it has it no
more; so is one that is lost meanwhile. One that was lost before is only listed: it hears of the deletion when it is
back.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING

from headrace.cli.rollout import Standing, Verdict
from headrace.types import AgentState, Phase

if TYPE_CHECKING:
    from headrace.api import Pipeline, Workload


class Removal:
    """One pipeline on its way out, fed with each state of it that the control plane tells."""

    def __init__(self, pipeline: str, *, revision: int) -> None:
        self.pipeline = pipeline
        self.revision = revision
        self._left: Mapping[str, Workload] | None = None
        self._awaited: dict[str, str] = {}
        """Names by id."""

    @property
    def nobody(self) -> str:
        """What is to be said when there was nobody to wait for."""
        return f"{self.pipeline}: no connected agent runs it any more"

    def take(self, pipeline: Pipeline) -> None:
        """A newer state; of a pipeline that somebody made again, nothing is awaited."""
        if pipeline.revision < self.revision:
            return
        workloads = pipeline.workloads if pipeline.revision == self.revision else ()
        self._left = {workload.agent_id: workload for workload in workloads}
        self._awaited |= {w.agent_id: w.agent_name for w in workloads if w.agent_state is AgentState.CONNECTED}

    def ended(self) -> None:
        """The control plane knows nothing of it any more."""
        self._left = {}

    def standings(self, *, now: datetime, enrolled: Mapping[str, datetime]) -> tuple[Standing, ...] | None:
        """Every agent that has or had it, by name; None before anything was told. No clock counts here."""
        if self._left is None:
            return None
        names = self._awaited | {agent_id: workload.agent_name for agent_id, workload in self._left.items()}
        ordered = sorted(names, key=lambda agent_id: (names[agent_id], agent_id))
        return tuple(self._standing(agent_id, names[agent_id], self._left.get(agent_id)) for agent_id in ordered)

    def _standing(self, agent_id: str, agent: str, workload: Workload | None) -> Standing:
        if workload is None:
            verdict, phase, text = Verdict.DONE, Phase.STOPPED, "removed"
        elif workload.agent_state is AgentState.CONNECTED:
            verdict, phase, text = Verdict.WAITING, workload.phase, workload.phase.value
        elif agent_id in self._awaited and workload.agent_state in (AgentState.SUSPECT, AgentState.LOST):
            verdict, phase = Verdict.WAITING, workload.phase
            text = f"{workload.phase}; agent is {workload.agent_state}, and may come back"
        else:
            verdict, phase, text = Verdict.AWAY, workload.phase, f"agent is {workload.agent_state}, not waited for"
        return Standing(
            pipeline=self.pipeline, agent_id=agent_id, agent=agent or agent_id, verdict=verdict, phase=phase, text=text
        )
