"""When a change has arrived: the rules of `--wait`."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from headrace.api import Manifest, Pipeline, Workload
from headrace.cli.exits import Exit
from headrace.cli.rollout import Goal, Rollout, Standing, Verdict, exit_for
from headrace.types import AgentState, Attempt, AttemptState, Fault, Health, Observed, Phase, Running, Step

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def workload(
    agent: str = "a",
    phase: Phase = Phase.PENDING,
    state: AgentState = AgentState.CONNECTED,
    attempt: Attempt | None = None,
    running: Running | None = None,
    generation: int = 7,
) -> Workload:
    observed = Observed(pipeline="p", attempt=attempt, running=running) if attempt or running else None
    return Workload(
        pipeline="p",
        agent_id=agent,
        agent_name=agent,
        agent_state=state,
        phase=phase,
        observed=observed,
        generation=generation,
    )


def pipeline(*workloads: Workload, revision: int = 3) -> Pipeline:
    return Pipeline(manifest=Manifest(name="p"), revision=revision, generation=7, workloads=workloads)


def rollout(*workloads: Workload, goal: Goal = Goal.RUNNING) -> Rollout:
    made = Rollout("p", revision=3, goal=goal)
    made.take(pipeline(*workloads))
    return made


def verdicts(rollout: Rollout, enrolled: dict[str, datetime] | None = None, now: datetime = NOW) -> list[Verdict]:
    standings = rollout.standings(now=now, enrolled=enrolled or {})
    assert standings is not None
    return [standing.verdict for standing in standings]


QUARANTINED = Attempt(
    generation=7,
    state=AttemptState.FAILED,
    step=Step.VALIDATE,
    faults=(Fault(message="unknown filter 'grpe'", plugin="filter"),),
    quarantined=True,
)
RETRIED = Attempt(
    generation=7,
    state=AttemptState.FAILED,
    step=Step.APPLY,
    faults=(Fault(message="port 2020 is taken"),),
    retry_at=NOW + timedelta(seconds=5),
)
LAST_GOOD = Running(generation=6, sha256="ab", health=Health.HEALTHY)

PHASES = {
    (Phase.PENDING, Goal.RUNNING): Verdict.WAITING,
    (Phase.APPLYING, Goal.RUNNING): Verdict.WAITING,
    (Phase.RUNNING, Goal.RUNNING): Verdict.DONE,
    (Phase.GOOD, Goal.RUNNING): Verdict.DONE,
    (Phase.DEGRADED, Goal.RUNNING): Verdict.DONE,
    (Phase.CRASH_LOOPING, Goal.RUNNING): Verdict.FAILED,
    (Phase.STOPPED, Goal.RUNNING): Verdict.WAITING,
    (Phase.RUNNING, Goal.GOOD): Verdict.WAITING,
    (Phase.GOOD, Goal.GOOD): Verdict.DONE,
    (Phase.DEGRADED, Goal.GOOD): Verdict.WAITING,
    (Phase.CRASH_LOOPING, Goal.GOOD): Verdict.FAILED,
    (Phase.STOPPED, Goal.GOOD): Verdict.WAITING,
}


@pytest.mark.parametrize(("phase", "goal"), PHASES)
def test_a_connected_agent_is_judged_by_its_phase(phase: Phase, goal: Goal) -> None:
    assert verdicts(rollout(workload(phase=phase), goal=goal)) == [PHASES[phase, goal]]


def test_a_quarantined_failure_ends_the_wait_and_says_what_runs_now() -> None:
    found = rollout(workload(phase=Phase.FAILED, attempt=QUARANTINED, running=LAST_GOOD))
    (standing,) = found.standings(now=NOW, enrolled={}) or ()
    assert standing.verdict is Verdict.FAILED
    assert standing.text == "failed at validate: unknown filter 'grpe'; generation 6 runs (healthy)"


def test_a_failure_that_is_tried_again_is_waited_for() -> None:
    (standing,) = rollout(workload(phase=Phase.FAILED, attempt=RETRIED)).standings(now=NOW, enrolled={}) or ()
    assert standing.verdict is Verdict.WAITING
    assert standing.text == "failed at apply: port 2020 is taken; nothing runs; tries again"


@pytest.mark.parametrize("state", [AgentState.LOST, AgentState.GONE, AgentState.REVOKED, AgentState.SUSPECT])
def test_an_agent_that_was_away_before_is_only_listed(state: AgentState) -> None:
    assert verdicts(rollout(workload("a", Phase.GOOD), workload("b", state=state))) == [Verdict.DONE, Verdict.AWAY]


def test_an_agent_that_enrolled_within_a_minute_is_waited_for() -> None:
    found = rollout(workload("a", state=AgentState.PENDING))
    enrolled = {"a": NOW - timedelta(seconds=59)}
    assert verdicts(found, enrolled) == [Verdict.WAITING]
    assert verdicts(found, enrolled, NOW + timedelta(seconds=1)) == [Verdict.AWAY]
    assert verdicts(found) == [Verdict.AWAY]


def test_an_agent_that_goes_while_it_is_waited_for_is_waited_for_still() -> None:
    found = rollout(workload())
    for state in (AgentState.SUSPECT, AgentState.LOST):
        found.take(pipeline(workload(state=state)))
        assert verdicts(found) == [Verdict.WAITING]
    for state in (AgentState.REVOKED, AgentState.GONE):
        found.take(pipeline(workload(state=state)))
        assert verdicts(found) == [Verdict.FAILED]
    found.take(pipeline(workload(phase=Phase.RUNNING)))
    assert verdicts(found) == [Verdict.DONE]


def test_an_agent_that_ran_it_and_went_has_run_it() -> None:
    found = rollout(workload(phase=Phase.GOOD))
    found.take(pipeline(workload(phase=Phase.GOOD, state=AgentState.LOST)))
    assert verdicts(found) == [Verdict.DONE]


def test_what_was_told_before_the_change_does_not_count() -> None:
    found = Rollout("p", revision=3, goal=Goal.RUNNING)
    found.take(pipeline(workload(phase=Phase.GOOD), revision=2))
    assert found.standings(now=NOW, enrolled={}) is None


def test_a_later_change_is_what_counts_then() -> None:
    found = rollout(workload(phase=Phase.GOOD))
    found.take(pipeline(workload(phase=Phase.PENDING), revision=4))
    found.take(pipeline(workload(phase=Phase.GOOD), revision=3))
    assert verdicts(found) == [Verdict.WAITING]


def test_agents_that_should_not_run_it_are_not_of_the_rollout() -> None:
    assert verdicts(rollout(workload(phase=Phase.REMOVING, generation=0))) == []


@pytest.mark.parametrize(
    ("found", "timed_out", "expected"),
    [
        ("", False, Exit.DONE),
        ("D", False, Exit.DONE),
        ("DA", False, Exit.DONE),
        ("A", False, Exit.DONE),
        ("DF", False, Exit.SOME_FAILED),
        ("F", False, Exit.REFUSED),
        ("FF", False, Exit.REFUSED),
        ("FA", False, Exit.REFUSED),
        ("DW", True, Exit.TIMED_OUT),
        ("W", True, Exit.TIMED_OUT),
        ("", True, Exit.TIMED_OUT),
        ("FW", True, Exit.SOME_FAILED),
    ],
)
def test_the_exit_code_is_about_the_agents_that_were_waited_for(found: str, timed_out: bool, expected: Exit) -> None:
    by_letter = {verdict.value[0].upper(): verdict for verdict in Verdict}
    standings = [
        Standing(pipeline="p", agent_id=str(n), agent="", verdict=by_letter[letter], phase=Phase.PENDING, text="")
        for n, letter in enumerate(found)
    ]
    assert exit_for(standings, timed_out=timed_out) is expected
