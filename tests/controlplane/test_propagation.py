"""How long a change takes: what is measured, once each, and what is not."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest

from controlplane import propagation
from controlplane.propagation import Propagation
from headrace.types import Engine, Health, Observed, Running
from tests.conftest import Clock


class Measured:
    """A propagation and what it has measured."""

    def __init__(self) -> None:
        self.received: list[float] = []
        self.applied: list[float] = []
        self.propagation = Propagation(self.received.append, self.applied.append)

    def report(self, desired: int, running: int, now: datetime) -> None:
        running_ = Running(generation=running, sha256="", health=Health.STARTING, engine=Engine.EMBEDDED)
        observed = Observed(pipeline="p", desired=desired, running=running_ if running else None)
        self.propagation.reported("a", observed, now=now)


def test_a_change_is_received_once_and_applied_once(clock: Clock) -> None:
    measured = Measured()
    measured.propagation.sent("a", "p", generation=2, committed_at=clock.now())
    clock.advance(1)
    measured.report(1, 1, clock.now())
    assert measured.received == []
    measured.report(2, 1, clock.now())
    clock.advance(2)
    measured.report(2, 1, clock.now())
    measured.report(2, 2, clock.now())
    measured.report(2, 2, clock.now())
    assert (measured.received, measured.applied) == ([1.0], [3.0])
    assert len(measured.propagation) == 0


def test_a_newer_change_takes_the_place_of_one_on_its_way(clock: Clock) -> None:
    measured = Measured()
    measured.propagation.sent("a", "p", generation=2, committed_at=clock.now())
    clock.advance(5)
    measured.propagation.sent("a", "p", generation=3, committed_at=clock.now())
    clock.advance(1)
    measured.report(2, 2, clock.now())
    measured.report(3, 3, clock.now())
    assert (measured.received, measured.applied) == ([1.0], [1.0])


def test_what_was_not_sent_as_a_change_is_not_measured(clock: Clock) -> None:
    measured = Measured()
    measured.report(1, 1, clock.now())
    assert measured.received == []


def test_an_agent_that_has_something_newer_was_not_asked_by_us(clock: Clock) -> None:
    measured = Measured()
    measured.propagation.sent("a", "p", generation=2, committed_at=clock.now() + timedelta(seconds=9))
    measured.report(7, 7, clock.now())
    assert (measured.received, measured.applied) == ([0.0], [])
    assert len(measured.propagation) == 0


def test_what_never_comes_is_forgotten(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(propagation, "_MOST", 3)
    measured = Measured()
    for number in range(5):
        measured.propagation.sent(f"a{number}", "p", generation=1, committed_at=clock.now())
    assert len(measured.propagation) == 3
    clock.advance(4000)
    measured.propagation.sent("late", "p", generation=1, committed_at=clock.now())
    assert len(measured.propagation) == 1
