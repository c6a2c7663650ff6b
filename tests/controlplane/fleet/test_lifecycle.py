"""What an agent is after how much silence."""

from __future__ import annotations

import itertools

import pytest

from controlplane.fleet.lifecycle import Timings, state_after
from headrace.types import AgentState

TIMINGS = Timings(suspect=60, lost=100, gone=1000)
S = AgentState


@pytest.mark.parametrize(
    ("silence", "held", "after"),
    [
        # pending, connected, suspect, lost
        (0, True, (S.PENDING, S.CONNECTED, S.CONNECTED, S.CONNECTED)),
        (59, True, (S.PENDING, S.CONNECTED, S.CONNECTED, S.CONNECTED)),
        (59, False, (S.PENDING, S.CONNECTED, S.CONNECTED, S.LOST)),
        (60, True, (S.PENDING, S.SUSPECT, S.SUSPECT, S.SUSPECT)),
        (60, False, (S.PENDING, S.SUSPECT, S.SUSPECT, S.LOST)),
        (100, True, (S.PENDING, S.LOST, S.LOST, S.LOST)),
        (999, False, (S.PENDING, S.LOST, S.LOST, S.LOST)),
        (1000, False, (S.GONE, S.GONE, S.GONE, S.GONE)),
    ],
)
def test_silence_moves_an_agent_along(silence: float, held: bool, after: tuple[AgentState, ...]) -> None:
    before = (S.PENDING, S.CONNECTED, S.SUSPECT, S.LOST)
    assert tuple(state_after(state, silence, TIMINGS, held=held) for state in before) == after


@pytest.mark.parametrize(("silence", "held"), list(itertools.product((0, 60, 100, 1e9), (True, False))))
def test_what_has_ended_stays_ended(silence: float, held: bool) -> None:
    for state in (S.GONE, S.REVOKED):
        assert state_after(state, silence, TIMINGS, held=held) is state
