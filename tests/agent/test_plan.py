"""The plan of one workload: a table of situations, and what holds in every one of them."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.model import Target
from agent.plan import Acknowledge, Action, Keep, Reload, Replace, Revive, Settle, Situation, Start, Stop, plan
from headrace.types import AttemptState

OLD, NEW = Target(1, "aaa"), Target(2, "bbb")
SAME = Target(2, "aaa")

WANTED = Situation(now=100.0, desired=NEW, basis="x", attempt_state=AttemptState.PENDING, attempted=NEW)
TRIED = replace(WANTED, attempt_basis="x")
RUNS_OLD = {"running": OLD, "running_basis": "x", "alive": True}
RUNS_NEW = {"running": NEW, "running_basis": "x", "alive": True}
OK = replace(TRIED, attempt_state=AttemptState.OK, **RUNS_NEW)
FAILED = replace(TRIED, attempt_state=AttemptState.FAILED)
QUARANTINED = replace(FAILED, is_quarantined=True)

TABLE: list[tuple[str, Situation, Action]] = [
    ("nothing desired, nothing there", Situation(now=0.0), Keep()),
    ("nothing desired, an engine runs", replace(Situation(now=0.0), **RUNS_OLD), Stop()),
    ("removed while an engine runs", replace(OK, is_removed=True), Stop()),
    ("removed and stopped", replace(OK, is_removed=True, alive=False), Keep()),
    ("removed in the middle of an attempt", replace(WANTED, is_removed=True), Keep()),
    ("never tried, nothing runs", WANTED, Start(NEW)),
    ("never tried, the old content runs", replace(WANTED, **RUNS_OLD), Reload(NEW)),
    ("never tried, the environment differs", replace(WANTED, **RUNS_OLD | {"running_basis": "y"}), Replace(NEW)),
    (
        "the same content runs under an older number",
        replace(WANTED, desired=SAME, attempted=SAME, **RUNS_OLD),
        Acknowledge(SAME),
    ),
    (
        "the same content runs, and its variables changed",
        replace(WANTED, desired=SAME, attempted=SAME, **RUNS_OLD | {"running_basis": "y"}),
        Replace(SAME),
    ),
    ("the same content ran and died", replace(WANTED, desired=SAME, running=OLD, running_basis="x"), Start(SAME)),
    ("an attempt was cut off by an end of the agent", replace(TRIED, attempt_state=AttemptState.APPLYING), Start(NEW)),
    ("an older generation failed", replace(QUARANTINED, attempted=OLD, **RUNS_OLD), Reload(NEW)),
    ("it failed, and the basis changed since", replace(QUARANTINED, attempt_basis="y"), Start(NEW)),
    ("it runs, and the basis changed since", replace(OK, attempt_basis="y", running_basis="y"), Replace(NEW)),
    ("it runs and does not do well yet", OK, Keep()),
    ("it settles", replace(OK, healthy_since=98.0), Keep(103.0)),
    ("it has settled", replace(OK, healthy_since=95.0), Settle(NEW)),
    ("it is good", replace(OK, healthy_since=0.0, good=NEW), Keep()),
    ("it is good and died", replace(OK, good=NEW, alive=False), Revive(NEW)),
    ("it is good, died, and has to wait", replace(OK, good=NEW, alive=False, restart_at=130.0), Keep(130.0)),
    ("it cannot work and nothing was ever good", QUARANTINED, Keep()),
    ("it cannot work and nothing else ran before", replace(QUARANTINED, running=NEW), Keep()),
    ("it cannot work and what ran before is down", replace(QUARANTINED, running=OLD), Revive(OLD)),
    ("it cannot work and the old one runs on", replace(QUARANTINED, **RUNS_OLD), Keep()),
    ("it cannot work and the last good one is down", replace(QUARANTINED, good=OLD), Revive(OLD)),
    ("the last good one has to wait", replace(QUARANTINED, good=OLD, restart_at=130.0), Keep(130.0)),
    ("it was prevented and has to wait", replace(FAILED, retry_at=110.0), Keep(110.0)),
    ("it was prevented and is due", replace(FAILED, retry_at=100.0), Start(NEW)),
    ("it was prevented, the old one runs, and it is due", replace(FAILED, retry_at=90.0, **RUNS_OLD), Reload(NEW)),
    ("it was prevented and the old one runs on", replace(FAILED, retry_at=110.0, **RUNS_OLD), Keep(110.0)),
    ("it was prevented and the last good one is down", replace(FAILED, retry_at=110.0, good=OLD), Revive(OLD)),
    (
        "both have to wait: whichever is sooner",
        replace(FAILED, retry_at=120.0, restart_at=110.0, good=OLD),
        Keep(110.0),
    ),
]


@pytest.mark.parametrize(("at", "expected"), [row[1:] for row in TABLE], ids=[row[0] for row in TABLE])
def test_the_table_holds(at: Situation, expected: Action) -> None:
    assert plan(at) == expected


targets = st.builds(Target, st.integers(1, 3), st.sampled_from(["aaa", "bbb"]))
times = st.floats(0, 200)
situations = st.builds(
    Situation,
    now=times,
    desired=st.none() | targets,
    basis=st.sampled_from("xy"),
    is_removed=st.booleans(),
    attempted=st.none() | targets,
    attempt_basis=st.sampled_from("xy"),
    attempt_state=st.none() | st.sampled_from(AttemptState),
    is_quarantined=st.booleans(),
    retry_at=times,
    running=st.none() | targets,
    running_basis=st.sampled_from("xy"),
    alive=st.booleans(),
    healthy_since=st.none() | times,
    good=st.none() | targets,
    restart_at=times,
)


@given(situations)
def test_it_never_waits_for_what_is_past(at: Situation) -> None:
    action = plan(at)
    assert not isinstance(action, Keep) or action.until is None or action.until > at.now


@given(situations)
def test_a_removed_pipeline_is_only_ever_stopped(at: Situation) -> None:
    assert plan(replace(at, is_removed=True)) in (Stop(), Keep())


@given(situations)
def test_only_what_is_desired_or_ran_before_is_ever_started(at: Situation) -> None:
    match plan(at):
        case Start(target) | Reload(target) | Replace(target) | Acknowledge(target) | Settle(target):
            assert target == at.desired
        case Revive(target):
            assert target in (at.desired, at.good, at.running)
            assert not at.alive


@given(situations)
def test_a_quarantined_generation_is_not_tried_again(at: Situation) -> None:
    at = replace(
        at, attempted=at.desired, attempt_basis=at.basis, attempt_state=AttemptState.FAILED, is_quarantined=True
    )
    assert not isinstance(plan(at), Start | Reload | Replace | Acknowledge | Settle)


@given(situations)
def test_an_engine_is_touched_only_for_other_content_or_another_basis(at: Situation) -> None:
    if at.alive and at.running == at.desired and at.running_basis == at.basis and not at.is_removed:
        assert not isinstance(plan(at), Start | Reload | Replace | Revive | Stop) or at.desired is None
