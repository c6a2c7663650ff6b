"""The plan, exhaustively and by properties."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from controlplane.plan import Act, Asked, Known, Mark, act, plan, strangers

GENERATIONS = (3, 5, 7)
WANTED = (None, *GENERATIONS)
KNOWN = (None, *(Known(g, deleted) for g in GENERATIONS for deleted in (False, True)))
ASKED = (None, *(Asked(g, removed) for g in GENERATIONS for removed in (False, True)))
MARKS = (None, *Mark)

names = st.sampled_from("abcdef")
wanted_sets = st.dictionaries(names, st.sampled_from(GENERATIONS))
known_sets = st.dictionaries(names, st.builds(Known, st.sampled_from(GENERATIONS), st.booleans()))
asked_sets = st.dictionaries(names, st.builds(Asked, st.sampled_from(GENERATIONS), st.booleans()))
mark_sets = st.dictionaries(names, st.sampled_from(Mark))


def expected(wanted: int | None, known: Known | None, asked: Asked | None, mark: Mark | None) -> Act:
    if asked is None or asked.removed:
        return Act.NOTHING if wanted is None else Act.SEND
    if wanted is not None:
        return Act.NOTHING if asked.generation >= wanted and mark is None else Act.SEND
    if mark is not None:
        return {Mark.REMOVING: Act.REMOVE, Mark.ORPHANED: Act.ORPHAN}[mark]
    return Act.ORPHAN if known is None or known.generation < asked.generation else Act.REMOVE


def test_every_case_has_the_one_right_answer() -> None:
    for wanted, known, asked, mark in itertools.product(WANTED, KNOWN, ASKED, MARKS):
        decision = act(wanted=wanted, known=known, asked=asked, mark=mark)
        assert decision is expected(wanted, known, asked, mark), (wanted, known, asked, mark)


def test_nothing_is_removed_because_nothing_is_known() -> None:
    decided = plan(wanted={}, known={}, asked={"a": Asked(5), "b": Asked(1)}, marks={})
    assert decided.removes == ()
    assert decided.orphans == ("a", "b")


def test_a_pipeline_that_was_taken_away_on_this_link_is_sent_again_at_the_same_generation() -> None:
    assert act(wanted=5, known=Known(5), asked=Asked(5, removed=True)) is Act.SEND


@given(wanted_sets, known_sets, asked_sets, mark_sets)
def test_doing_the_plan_leaves_nothing_to_plan_but_orphans(
    wanted: dict[str, int], known: dict[str, Known], asked: dict[str, Asked], marks: dict[str, Mark]
) -> None:
    first = plan(wanted=wanted, known=known, asked=asked, marks=marks)
    done = dict(asked)
    for name in first.sends:
        done[name] = Asked(wanted[name])
    for name in first.removes:
        done[name] = Asked(asked[name].generation, removed=True)
    left = {name: mark for name, mark in marks.items() if name not in first.sends}
    second = plan(wanted=wanted, known=known, asked=done, marks=left)
    assert second.sends == second.removes == ()
    assert second.orphans == first.orphans


@given(wanted_sets, known_sets, asked_sets, mark_sets)
def test_only_what_is_not_wanted_is_ever_removed(
    wanted: dict[str, int], known: dict[str, Known], asked: dict[str, Asked], marks: dict[str, Mark]
) -> None:
    decided = plan(wanted=wanted, known=known, asked=asked, marks=marks)
    assert not {*decided.removes, *decided.orphans} & wanted.keys()
    assert {*decided.sends} <= wanted.keys()


def test_nothing_that_a_foreign_agent_runs_goes_by_its_number() -> None:
    asked = {"a": Asked(5), "b": Asked(5), "c": Asked(5), "gone": Asked(5, removed=True)}
    known = {"a": Known(5), "b": Known(9), "c": Known(9, deleted=True), "gone": Known(9)}
    marks = dict.fromkeys(strangers(known=known, asked=asked, foreign=True), Mark.ORPHANED)
    assert set(marks) == {"a", "b", "c"}
    decided = plan(wanted={"a": 5}, known=known, asked=asked, marks=marks)
    assert (decided.sends, decided.removes, decided.orphans) == (("a",), (), ("b", "c"))


def test_of_an_older_epoch_only_what_was_deleted_later_is_no_orphan() -> None:
    asked = {"lives": Asked(5), "later": Asked(5), "before": Asked(5), "unknown": Asked(5), "wanted": Asked(5)}
    known = {
        "lives": Known(9),
        "later": Known(9, deleted=True),
        "before": Known(3, deleted=True),
        "wanted": Known(9),
    }
    found = set(strangers(known=known, asked=asked, foreign=False))
    assert found == {"lives", "before", "unknown", "wanted"}
