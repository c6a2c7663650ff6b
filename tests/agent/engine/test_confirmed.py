"""Of pieces that are confirmed in any order the unbroken run counts, and nothing of what was cleared."""

from collections.abc import Callable

from hypothesis import given
from hypothesis import strategies as st

from agent.engine.confirmed import ConfirmedRun


@given(st.integers(1, 8).flatmap(lambda count: st.permutations(range(count))))
def test_what_moves_is_the_end_of_the_unbroken_run(order: list[int]) -> None:
    heard: list[int] = []
    run: ConfirmedRun[int] = ConfirmedRun(heard.append)
    confirms = [run.add(end) for end in range(len(order))]
    for number, piece in enumerate(order):
        confirms[piece]()
        done = set(order[: number + 1])
        unbroken = next((end for end in range(len(order)) if end not in done), len(order))
        assert heard[-1:] == ([unbroken - 1] if unbroken else [])
        assert run.is_empty == (unbroken == len(order))
    assert heard == sorted(set(heard))


def test_what_was_cleared_says_nothing_any_more() -> None:
    heard: list[str] = []
    run: ConfirmedRun[str] = ConfirmedRun(heard.append)
    late: Callable[[], None] = run.add("before")
    run.clear()
    after = run.add("after")
    late()
    assert heard == []
    after()
    assert heard == ["after"]
