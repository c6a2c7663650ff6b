"""The phase of a workload as of a view: one rule for what is stored and for what people are shown. Pure."""

from __future__ import annotations

from controlplane.model import ObservedRow
from controlplane.plan import Act, Asked, Mark, act
from controlplane.view import AgentView, View
from headrace.types import Observed, Phase, phase_of

_MARKS = {Phase.ORPHANED: Mark.ORPHANED, Phase.REMOVING: Mark.REMOVING}


def mark_of(phase: Phase | None) -> Mark | None:
    """What a stored phase says was decided about a workload that the agent should not run."""
    return _MARKS.get(phase) if phase is not None else None


def phase_in(view: View, agent: AgentView, observed: Observed, mark: Mark | None) -> Phase:
    """The phase of a workload that an agent reported."""
    pipeline = view.pipelines.get(observed.pipeline)
    if pipeline is not None and pipeline.matches(agent):
        return phase_of(observed, generation=pipeline.row.generation)
    known = None if pipeline is None else pipeline.known
    decision = act(wanted=None, known=known, asked=Asked(observed.desired), mark=mark)
    return Phase.ORPHANED if decision is Act.ORPHAN else Phase.REMOVING


def phase_now(view: View, agent: AgentView, row: ObservedRow) -> Phase:
    """The phase of a stored workload; what is desired may have changed since it was stored."""
    return phase_in(view, agent, row.observed, mark_of(row.phase))


def is_gone(observed: Observed) -> bool:
    """Whether an agent says that nothing of this pipeline is left on it."""
    return observed.desired == 0 and observed.attempt is None and observed.running is None
