"""The bound on mass removal."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlplane.guard import bound, check
from headrace.errors import ConfirmError

counts = st.integers(min_value=0, max_value=20_000)


@pytest.mark.parametrize(("agents", "allowed"), [(0, 5), (5, 5), (50, 5), (59, 5), (60, 6), (1000, 100)])
def test_the_bound_is_five_or_a_tenth(agents: int, allowed: int) -> None:
    assert bound(agents) == allowed


@given(agents=counts, losing=counts, confirm=counts)
def test_only_a_confirmation_of_at_least_the_number_lets_more_through(agents: int, losing: int, confirm: int) -> None:
    losing = min(losing, agents)
    allowed = losing <= max(5, agents // 10) or losing <= confirm
    if allowed:
        check(agents=agents, losing=losing, confirm=confirm)
        return
    with pytest.raises(ConfirmError, match=f"--confirm {losing}") as caught:
        check(agents=agents, losing=losing, confirm=confirm)
    assert caught.value.confirm == losing


def test_the_refusal_says_the_numbers_and_what_to_do() -> None:
    with pytest.raises(ConfirmError) as caught:
        check(agents=200, losing=150, confirm=20)
    assert caught.value.message == (
        "this would take pipelines away from 150 of 200 agents, more than the 20 that need no confirmation; "
        "--confirm 20 is not enough; check selector and labels, then repeat with --confirm 150"
    )
