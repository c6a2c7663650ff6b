"""The retry schedule."""

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.engine.retry import UNLIMITED, RetrySchedule, may_retry, parse_retry_limit


@given(st.integers(1, 100), st.integers(1, 5000), st.integers(1, 10_000), st.randoms())
def test_a_delay_lies_between_base_and_the_doubled_or_capped_base(base: int, cap: int, retry: int, rng: Random) -> None:
    delay = RetrySchedule(base=base, cap=cap).delay(retry, rng)
    longest = min(cap, base * 2**retry)
    assert min(base, longest) + 1 <= delay <= longest + 1


@pytest.mark.parametrize(
    ("text", "limit"),
    [("1", 1), (" 12 ", 12), ("no_limits", UNLIMITED), ("False", UNLIMITED), ("off", UNLIMITED), ("no_retries", 0)],
)
def test_a_limit_is_read(text: str, limit: int) -> None:
    assert parse_retry_limit(text) == limit


@pytest.mark.parametrize("text", ["", "0", "-1", "1.5", "many", "²"])
def test_another_limit_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="no_limits"):
        parse_retry_limit(text)


def test_a_chunk_is_given_up_after_exactly_its_limit() -> None:
    assert [may_retry(done, 2) for done in range(4)] == [True, True, False, False]
    assert not may_retry(0, 0)
    assert may_retry(10**6, UNLIMITED)
