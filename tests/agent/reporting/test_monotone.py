"""Counters over reloads and restarts: what is reported only grows, is exact, or says that it may not be."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.reporting.monotone import Monotone
from agent.reporting.series import PENDING, Raw, Scrape, Series

IN = Series("fluentbit_input_records_total", "dummy.0")
OUT = Series("fluentbit_output_latency_seconds_count", "null.0")


def scrape(life: str, value: float, *, pending: int = 0) -> Scrape:
    return Scrape(life, {Raw(IN, ""): value}, {Series(PENDING): float(pending)})


def test_a_counter_goes_on_where_it_was_when_nothing_can_have_passed() -> None:
    counters = Monotone()
    assert counters.take(scrape("a", 5)) == {IN: 5}
    assert counters.take(scrape("a", 5), final=True) == {IN: 5}
    assert counters.take(scrape("b", 2)) == {IN: 7}
    assert counters.take(scrape("b", 4)) == {IN: 9}
    assert counters.uncertain == 0


@pytest.mark.parametrize(
    "last",
    [
        [(scrape("a", 5), False), (scrape("a", 5), False)],  # nobody looked right before
        [(scrape("a", 5), False), (scrape("a", 6), True)],  # it moved
        [(scrape("a", 5), False), (scrape("a", 5, pending=1), True)],  # an output has yet to take something
        [(scrape("a", 5), True)],  # it had moved since its start
    ],
)
def test_what_may_have_passed_is_counted_and_not_made_up(last: list[tuple[Scrape, bool]]) -> None:
    counters = Monotone()
    for look, final in last:
        before = counters.take(look, final=final)[IN]
    assert counters.take(scrape("b", 3)) == {IN: before + 3}
    assert counters.uncertain == 1


def test_a_change_that_did_not_come_about_makes_no_interval_certain() -> None:
    counters = Monotone()
    counters.take(scrape("a", 5))
    counters.take(scrape("a", 5), final=True)
    counters.disturb()
    assert counters.take(scrape("b", 0)) == {IN: 5}
    assert counters.uncertain == 1


def test_the_first_life_that_is_seen_is_taken_as_it_is() -> None:
    counters = Monotone()
    assert counters.take(scrape("a", 100)) == {IN: 100}
    assert counters.uncertain == 0


def test_a_counter_that_starts_over_by_itself_is_uncertain() -> None:
    counters = Monotone()
    counters.take(scrape("a", 5))
    assert counters.take(scrape("a", 2)) == {IN: 7}
    assert counters.uncertain == 1


def test_parts_of_a_series_add_up_also_when_one_is_gone() -> None:
    counters = Monotone()
    counters.take(Scrape("a", {Raw(OUT, "x"): 2, Raw(OUT, "y"): 3}, {}))
    assert counters.take(Scrape("a", {Raw(OUT, "y"): 4}, {})) == {OUT: 6}


def test_a_plugin_that_is_gone_is_not_reported_and_goes_on_when_it_is_back() -> None:
    counters = Monotone()
    counters.take(scrape("a", 5))
    counters.take(scrape("a", 5), final=True)
    assert counters.take(Scrape("b", {}, {})) == {}
    assert counters.take(Scrape("b", {}, {}), final=True) == {}
    assert counters.take(scrape("c", 1)) == {IN: 6}
    assert counters.uncertain == 0


@pytest.mark.parametrize("document", [{}, {"life": "a"}, {"life": "", "uncertain": 0, "quiet": 1, "final": 1}])
def test_what_was_not_dumped_is_not_loaded(document: dict[str, object]) -> None:
    with pytest.raises(KeyError):
        Monotone.load(document)


EVENTS = st.lists(
    st.one_of(
        st.tuples(st.just("count"), st.integers(0, 5)),
        st.tuples(st.sampled_from(["look", "refused", "reload", "crash", "agent"]), st.just(0)),
    ),
    max_size=40,
)


@settings(max_examples=500)
@given(EVENTS)
def test_what_is_reported_only_grows_and_is_exact_unless_it_says_so(events: list[tuple[str, int]]) -> None:
    """An engine that counts and starts over at will, and an agent that looks, and restarts, at will."""
    counters, life, now, truth, reported, is_first = Monotone(), 0, 0, 0, 0.0, True
    unseen = False

    def look(*, final: bool) -> None:
        nonlocal reported, unseen, is_first
        value = counters.take(scrape(str(life), now), final=final)[IN]
        assert value >= reported
        assert value <= truth
        if not unseen:
            assert value == truth or counters.uncertain
        reported, is_first = value, False

    for kind, number in events:
        match kind:
            case "count":
                now, truth = now + number, truth + number
            case "look":
                look(final=False)
            case "refused":
                look(final=True)
                counters.disturb()
            case "reload":  # with a last look, after which nothing passes
                look(final=True)
                life, now = life + 1, 0
            case "crash":
                # What passed before the agent ever looked is not its to know.
                unseen = unseen or is_first
                counters.disturb()
                life, now = life + 1, 0
            case "agent":
                counters = Monotone.load(json.loads(json.dumps(counters.dump())))
    look(final=False)
    if not unseen and counters.uncertain == 0:
        assert reported == truth
