"""Restart and retry policy."""

from __future__ import annotations

import signal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.restart import LONGEST_DELAY_S, LONGEST_LOOP_DELAY_S, LOOP, WINDOW_S, Exit, restart, retry_delay

exits = st.lists(st.builds(Exit, st.floats(0, 2000), st.none() | st.integers(-64, 255)), min_size=1, max_size=30)
rolls = st.floats(0, 1)


@pytest.mark.parametrize(("count", "delay"), [(1, 1), (2, 2), (3, 4), (4, 8), (5, 16), (9, 256), (10, 300), (20, 300)])
def test_each_exit_doubles_the_delay_up_to_a_bound(count: int, delay: float) -> None:
    ends = [Exit(float(index), 1) for index in range(count)]
    assert restart(ends, now=float(count), roll=1.0).delay == delay
    assert restart(ends, now=float(count), roll=0.0).delay == delay / 2


def test_exits_outside_the_window_are_forgotten() -> None:
    ends = [Exit(float(index), 1) for index in range(LOOP)]
    assert restart(ends, now=float(LOOP), roll=1.0).looping
    later = restart([*ends, Exit(2 * WINDOW_S, 1)], now=2 * WINDOW_S, roll=1.0)
    assert not later.looping
    assert later.delay == 1


@pytest.mark.parametrize(
    ("status", "text", "was_sent"),
    [
        (0, "the engine ended with exit status 0", False),
        (255, "the engine ended with exit status 255", False),
        (-signal.SIGKILL, "the engine was ended by SIGKILL", True),
        (-signal.SIGTERM, "the engine was ended by SIGTERM", True),
        (-signal.SIGSEGV, "the engine was ended by SIGSEGV", False),
        (-signal.SIGABRT, "the engine was ended by SIGABRT", False),
        (-99, "the engine was ended by signal 99", False),
        (None, "the engine ended", False),
    ],
)
def test_the_reason_says_how_it_ended(status: int | None, text: str, was_sent: bool) -> None:
    ending = Exit(0.0, status)
    assert str(ending) == text
    assert ending.was_sent is was_sent
    assert restart([ending], now=0.0, roll=0.0).reason == text


def test_the_reason_counts_the_exits() -> None:
    decision = restart([Exit(1.0, 1), Exit(2.0, 255)], now=2.0, roll=0.0)
    assert decision.reason == "the engine ended with exit status 255, 2 times within 10 minutes"


@given(exits, rolls)
def test_every_delay_is_within_its_bounds(ends: list[Exit], roll: float) -> None:
    decision = restart(ends, now=max(end.at for end in ends), roll=roll)
    assert 0.5 <= decision.delay <= (LONGEST_LOOP_DELAY_S if decision.looping else LONGEST_DELAY_S)


@given(st.integers(1, 10_000), rolls)
def test_a_retry_comes_within_a_minute(failures: int, roll: float) -> None:
    assert 0.5 <= retry_delay(failures, roll) <= LONGEST_DELAY_S
    assert retry_delay(failures, roll) <= retry_delay(failures + 1, roll)
