"""How an engine is doing, over time."""

from __future__ import annotations

from agent.restart import LOOP, Exit
from agent.runtimes import Report
from agent.vitals import STUCK, UNANSWERED, Vitals
from headrace.types import Health

WELL = Report(is_well=True)


def test_it_is_healthy_since_the_first_good_look() -> None:
    vitals = Vitals()
    assert (vitals.health, vitals.healthy_since) == (Health.STARTING, None)
    vitals.seen(WELL, 10.0)
    vitals.seen(WELL, 11.0)
    assert (vitals.health, vitals.healthy_since) == (Health.HEALTHY, 10.0)


def test_an_unhealthy_look_starts_the_settling_again() -> None:
    vitals = Vitals()
    vitals.seen(WELL, 10.0)
    vitals.seen(Report(is_well=False), 11.0)
    assert (vitals.health, vitals.healthy_since) == (Health.DEGRADED, None)
    assert vitals.message == "the engine calls itself unhealthy"
    vitals.seen(WELL, 12.0)
    assert (vitals.health, vitals.healthy_since, vitals.message) == (Health.HEALTHY, 12.0, "")


def test_records_given_up_before_the_first_look_are_not_held_against_it() -> None:
    vitals = Vitals()
    vitals.seen(Report(is_well=True, given_up=7), 1.0)
    assert not vitals.gave_up
    vitals.seen(Report(is_well=True, given_up=8, message="output x gave up records"), 2.0)
    assert vitals.gave_up
    assert (vitals.health, vitals.message) == (Health.DEGRADED, "output x gave up records")
    vitals.started()
    assert not vitals.gave_up


def test_counters_that_start_again_are_no_loss() -> None:
    vitals = Vitals()
    vitals.seen(Report(is_well=True, given_up=7), 1.0)
    vitals.seen(Report(is_well=True, given_up=0), 2.0)
    assert not vitals.gave_up


def test_silence_degrades_and_then_ends_it() -> None:
    vitals = Vitals()
    vitals.seen(WELL, 1.0)
    for count in range(1, STUCK + 1):
        vitals.unanswered("no answer")
        assert (vitals.health is Health.DEGRADED) == (count >= UNANSWERED)
        assert vitals.is_stuck == (count >= STUCK)
    vitals.seen(WELL, 2.0)
    assert not vitals.is_stuck


def test_ends_too_often_are_a_crash_loop_until_somebody_asks() -> None:
    vitals = Vitals()
    for count in range(1, LOOP + 1):
        vitals.ended(Exit(float(count), 1), "disk on fire", roll=1.0)
        assert vitals.health is (Health.CRASH_LOOPING if count >= LOOP else Health.STOPPED)
    assert vitals.restart_at == LOOP + 16.0
    assert vitals.message.endswith("5 times within 10 minutes: disk on fire")
    vitals.forgive()
    assert vitals.restart_at == 0.0
    vitals.ended(Exit(10.0, 1), "", roll=1.0)
    assert vitals.health is Health.STOPPED
