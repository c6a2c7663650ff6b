"""The delays of retries."""

from __future__ import annotations

import random

import pytest
import tenacity
from hypothesis import given
from hypothesis import strategies as st

from headrace.retry import FullJitter, patient


@given(failures=st.integers(0, 10**9), seed=st.integers())
def test_a_delay_is_between_nothing_and_the_doubled_bound(failures: int, seed: int) -> None:
    delay = FullJitter(random.Random(seed)).delay(failures)
    assert 0.0 <= delay <= min(60.0, 0.5 * 2.0 ** min(failures, 20))


def test_delays_spread_over_their_whole_range() -> None:
    delays = [FullJitter(random.Random(seed)).delay(20) for seed in range(1000)]
    assert min(delays) < 5.0
    assert max(delays) > 55.0
    assert 25.0 < sum(delays) / len(delays) < 35.0


async def test_it_is_a_policy_of_tenacity() -> None:
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    attempts = 0
    async for attempt in tenacity.AsyncRetrying(
        wait=FullJitter(random.Random(1), first=1.0, maximum=4.0), stop=tenacity.stop_after_attempt(6), sleep=sleep
    ):
        with attempt:
            attempts += 1
            if attempts < 5:
                raise ConnectionError
    assert len(slept) == 4
    assert all(0.0 <= seconds <= bound for seconds, bound in zip(slept, (1.0, 2.0, 4.0, 4.0), strict=True))


@pytest.mark.parametrize("seed", range(20))
def test_patience_is_minutes(seed: int) -> None:
    assert 200.0 <= patient(random.Random(seed)) <= 400.0
