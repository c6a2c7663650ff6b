"""The phase that people see, over every combination of the truths that it depends on."""

from __future__ import annotations

import itertools

import pytest

from headrace.types import Attempt, AttemptState, Fault, Health, Observed, Phase, Running, phase_of

GENERATIONS = (0, 4, 5, 6)
"""None yet, older than, equal to and newer than what is asked for in these tests."""
ASKED = 5

ATTEMPTS = [
    None,
    *(Attempt(generation=generation, state=state) for generation in GENERATIONS for state in AttemptState),
]
RUNNING = [
    None,
    *(Running(generation=generation, sha256="", health=health) for generation in GENERATIONS for health in Health),
]
EVERYTHING = [
    Observed(pipeline="web", desired=desired, attempt=attempt, running=running, good=good)
    for desired, attempt, running, good in itertools.product(GENERATIONS, ATTEMPTS, RUNNING, GENERATIONS)
]


def expected(observed: Observed) -> Phase:
    """The rules in words, one after the other, for an agent that should run generation 5."""
    attempt, running = observed.attempt, observed.running
    if observed.desired < ASKED or attempt is None or attempt.generation < ASKED:
        return Phase.PENDING  # the agent has not heard of it, or not begun
    if attempt.state in (AttemptState.PENDING, AttemptState.SUPERSEDED):
        return Phase.PENDING
    if attempt.state in (AttemptState.VALIDATING, AttemptState.APPLYING):
        return Phase.APPLYING
    if attempt.state is AttemptState.FAILED:
        return Phase.FAILED  # whatever still runs: the last good one does
    if running is None:
        return Phase.STOPPED
    if running.health in (Health.STARTING, Health.HEALTHY):
        return Phase.GOOD if observed.good >= ASKED else Phase.RUNNING
    return Phase(running.health.value)


def test_the_phase_follows_the_truths() -> None:
    wrong = [observed for observed in EVERYTHING if phase_of(observed, generation=ASKED) is not expected(observed)]
    assert len(EVERYTHING) == 4 * 25 * 21 * 4
    assert wrong == []


def test_a_pipeline_that_this_instance_does_not_know_is_orphaned_whatever_it_does() -> None:
    phases = {phase_of(observed, generation=asked, known=False) for observed in EVERYTHING for asked in (None, ASKED)}
    assert phases == {Phase.ORPHANED}


def test_a_pipeline_that_the_agent_should_not_run_is_being_removed() -> None:
    assert {phase_of(observed, generation=None) for observed in EVERYTHING} == {Phase.REMOVING}


@pytest.mark.parametrize("generation", [None, ASKED])
@pytest.mark.parametrize("known", [True, False])
def test_an_agent_that_has_not_reported_is_pending(generation: int | None, known: bool) -> None:
    assert phase_of(None, generation=generation, known=known) is Phase.PENDING


def test_every_phase_can_be_seen() -> None:
    seen = {phase_of(observed, generation=ASKED) for observed in EVERYTHING}
    assert seen | {Phase.ORPHANED, Phase.REMOVING} == set(Phase)


def test_a_fault_names_its_place_only_when_it_has_one() -> None:
    assert str(Fault(message="no such plugin", file="pipeline.yaml", line=3, column=7)) == (
        "pipeline.yaml:3:7: no such plugin"
    )
    assert str(Fault(message="no such plugin", file="pipeline.yaml")) == "no such plugin"
