"""When a deletion has arrived: the rules of `delete --wait`."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from headrace.api import Manifest, Pipeline, Workload
from headrace.cli.removal import Removal
from headrace.cli.rollout import Verdict
from headrace.types import AgentState, Phase

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def workload(agent: str, state: AgentState = AgentState.CONNECTED) -> Workload:
    return Workload(pipeline="p", agent_id=agent, agent_name=agent, agent_state=state, phase=Phase.REMOVING)


def removal(*states: tuple[Workload, ...], revision: int = 4) -> Removal:
    made = Removal("p", revision=4)
    for workloads in states:
        made.take(Pipeline(manifest=Manifest(name="p"), revision=revision, workloads=workloads))
    return made


def verdicts(removal: Removal) -> list[tuple[str, Verdict]] | None:
    standings = removal.standings(now=NOW, enrolled={})
    return None if standings is None else [(standing.agent, standing.verdict) for standing in standings]


def test_nothing_is_known_before_anything_was_told() -> None:
    assert verdicts(removal()) is None


def test_an_agent_that_has_it_no_more_is_done() -> None:
    found = removal((workload("a"), workload("b")), (workload("b"),))
    assert verdicts(found) == [("a", Verdict.DONE), ("b", Verdict.WAITING)]


@pytest.mark.parametrize("state", [state for state in AgentState if state is not AgentState.CONNECTED])
def test_an_agent_that_was_away_before_is_only_listed(state: AgentState) -> None:
    assert verdicts(removal((workload("a", state),))) == [("a", Verdict.AWAY)]


@pytest.mark.parametrize(
    ("state", "verdict"),
    [
        (AgentState.SUSPECT, Verdict.WAITING),
        (AgentState.LOST, Verdict.WAITING),
        (AgentState.GONE, Verdict.AWAY),
        (AgentState.REVOKED, Verdict.AWAY),
    ],
)
def test_an_agent_that_goes_meanwhile_may_come_back_until_it_is_given_up(state: AgentState, verdict: Verdict) -> None:
    assert verdicts(removal((workload("a"),), (workload("a", state),))) == [("a", verdict)]


def test_a_state_from_before_the_deletion_is_ignored() -> None:
    assert verdicts(removal((workload("a"),), revision=3)) is None


def test_a_pipeline_that_is_forgotten_or_made_again_is_not_waited_for() -> None:
    made_again = removal((workload("a"),))
    made_again.take(Pipeline(manifest=Manifest(name="p"), revision=5, workloads=(workload("a"),)))
    forgotten = removal((workload("a"),))
    forgotten.ended()
    assert verdicts(made_again) == verdicts(forgotten) == [("a", Verdict.DONE)]
