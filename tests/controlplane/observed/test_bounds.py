"""What one agent may make the plane remember."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlplane.observed.bounds import bounded, check_count, highest
from headrace.errors import ProtocolError
from headrace.limits import DEFAULT_LIMITS
from headrace.types import Attempt, AttemptState, Fault, Observed, Running

words = st.text(max_size=20) | st.just("x" * 5000) | st.just("a\0b")
faults = st.lists(st.builds(Fault, message=words, plugin=words, property=words, file=words), max_size=80)
reports = st.builds(
    Observed,
    pipeline=st.just("edge"),
    desired=st.integers(0, 100),
    attempt=st.none() | st.builds(Attempt, generation=st.integers(0, 100), faults=faults.map(tuple)),
    running=st.none() | st.builds(Running, generation=st.integers(0, 100), sha256=st.just("0"), message=words),
    notes=st.lists(words, max_size=80).map(tuple),
)


@given(reports)
def test_no_report_is_larger_than_people_read_and_its_truths_stay(report: Observed) -> None:
    kept = bounded(report)
    texts = list(kept.notes)
    if kept.attempt is not None and report.attempt is not None:
        assert len(kept.attempt.faults) <= 50
        assert kept.attempt.generation == report.attempt.generation
        texts += [text for fault in kept.attempt.faults for text in (fault.message, fault.plugin, fault.file)]
    if kept.running is not None:
        texts.append(kept.running.message)
    assert len(kept.notes) <= 50
    assert all(len(text) <= 2001 and "\0" not in text for text in texts)
    assert highest(kept) == highest(report)
    assert bounded(kept) == kept


def test_an_ordinary_report_is_taken_as_it_is() -> None:
    report = Observed(pipeline="edge", desired=3, attempt=Attempt(generation=3, state=AttemptState.OK))
    assert bounded(report) is report


@pytest.mark.parametrize(
    "report",
    [
        Observed(pipeline="Not A Name"),
        Observed(pipeline="a\0b"),
        Observed(pipeline=""),
        Observed(pipeline="edge", desired=1 << 53),
        Observed(pipeline="edge", good=1 << 63),
        Observed(pipeline="edge", attempt=Attempt(generation=1 << 60)),
        Observed(pipeline="edge", running=Running(generation=1 << 60, sha256="")),
    ],
)
def test_what_no_agent_can_have_come_to_is_refused(report: Observed) -> None:
    with pytest.raises(ProtocolError):
        bounded(report)


def test_so_many_workloads_and_no_more() -> None:
    check_count(400, DEFAULT_LIMITS)
    with pytest.raises(ProtocolError, match="the limit is 400"):
        check_count(401, DEFAULT_LIMITS)
