"""Counters that are more than a number."""

from hypothesis import given
from hypothesis import strategies as st

from agent.engine.metrics import Flow, Histogram


@given(st.lists(st.floats(0, 100)))
def test_each_bound_counts_what_is_not_above_it(values: list[float]) -> None:
    histogram = Histogram()
    for value in values:
        histogram.add(value)
    for bound, count in histogram.cumulative():
        assert count == sum(value <= float(bound.replace("+Inf", "inf")) for value in values)
    assert histogram.sum == sum(values)


def test_a_flow_adds_up() -> None:
    flow = Flow()
    flow.add(2, 30, 0.5)
    flow.add(1, 10, 99)
    assert (flow.records, flow.bytes, flow.latency.counts[0], flow.latency.counts[-1]) == (3, 40, 1, 1)
