"""Metrics of records: what is counted, under which name and labels, and where it goes."""

from __future__ import annotations

import re
from typing import Any

import pytest

from agent.engine.config import InvalidProperty
from agent.engine.encode import metrics_text
from agent.engine.filters.log_to_metrics import as_label, as_number
from agent.engine.record import Batch, Record
from agent.engine.registry import filters
from tests.agent.engine.conftest import NOW, Emitted, EngineKit, PluginKit


def make(plugins: PluginKit, **properties: Any) -> Any:
    return plugins.make(filters, "log_to_metrics", tag="m", metric_description="Help.", **properties)


def measured(plugin: Any, *records: Record) -> list[str]:
    """The snapshot that some records give, as Fluent Bit prints it, without times."""
    emitted = Emitted()
    plugin.process(Batch("t", [1] * len(records), list(records), None, 10), emitted)
    for batch in emitted:
        assert (batch.tag, batch.signal, set(batch.times)) == ("m", "metrics", {NOW})
    text = b"".join(map(metrics_text, emitted)).decode()
    return re.sub("(?m)^[^ ]+Z ", "", text).splitlines()


def test_records_are_counted_by_their_labels_and_the_count_goes_on(plugins: PluginKit) -> None:
    counter = make(plugins, metric_name="n", add_label="where $k['a']", label_field="status")
    records = [{"status": 200, "k": {"a": "x"}}, {"status": "abc"}, {"status": 200, "k": {"a": "x"}}]
    assert measured(counter, *records) == [
        'log_metric_counter_n{where="x",status="200"} = 2',
        'log_metric_counter_n{where="",status="abc"} = 1',
    ]
    assert measured(counter, records[1])[1] == 'log_metric_counter_n{where="",status="abc"} = 2'


def test_a_gauge_is_what_was_seen_last(plugins: PluginKit) -> None:
    gauge = make(plugins, metric_mode="gauge", metric_name="g", metric_subsystem="sub", value_field="$v['x']")
    assert measured(gauge, {"v": {"x": 3}}, {"v": {"x": "7.5x"}}) == ["log_metric_sub_g = 7.5"]


def test_a_histogram_has_its_own_or_the_usual_bounds(plugins: PluginKit) -> None:
    own = make(plugins, metric_mode="histogram", metric_namespace="ns", value_field="v", bucket=[5, "1"])
    assert measured(own, {"v": 0.5}, {"v": 5}, {"v": 5.1}) == [
        "ns_histogram_a = { buckets = { 1=1, 5=2, +Inf=3 }, sum=10.6, count=3 }"
    ]
    usual = make(plugins, metric_mode="histogram", value_field="v")
    assert measured(usual, {"v": 3}) == [
        "log_metric_histogram_a = { buckets = { 0.005=0, 0.01=0, 0.025=0, 0.05=0, 0.1=0, 0.25=0, 0.5=0, 1=0, 2.5=0, "
        "5=1, 10=1, +Inf=1 }, sum=3, count=1 }"
    ]


@pytest.mark.parametrize(
    ("value", "number"),
    [(3, 3.0), (-2.5, -2.5), ("7", 7.0), (" 1e3s", 1000.0), (".5", 0.5), ("abc", 0.0), ("", 0.0)]
    + [(value, None) for value in (True, None, {"a": 1}, [1], object())],
)
def test_numbers_are_read_as_fluent_bit_reads_them(value: object, number: float | None) -> None:
    assert as_number(value) == number


@pytest.mark.parametrize(
    ("value", "label"), [("x", "x"), (5, "5"), (4.5, "4.500000"), (True, ""), (None, ""), ({"a": 1}, ""), ([1], "")]
)
def test_labels_are_written_as_fluent_bit_writes_them(value: object, label: str) -> None:
    assert as_label(value) == label


def test_what_has_no_number_is_told_and_changes_nothing(plugins: PluginKit, caplog: pytest.LogCaptureFixture) -> None:
    gauge = make(plugins, metric_mode="gauge", value_field="v")
    assert measured(gauge, {"v": True}, {}) == []
    assert "2 records have no number at v" in caplog.text


def test_only_what_the_rules_let_pass_is_counted_and_every_log_goes_on(plugins: PluginKit) -> None:
    counter = make(plugins, regex="l ^n", exclude="l x$")
    records: list[Record] = [{"l": "no"}, {"l": "yes"}, {"l": "nix"}]
    emitted = Emitted()
    batch = counter.process(Batch("t", [1, 2, 3], records, None, 10), emitted)
    assert batch.records == records
    assert emitted[0].records[0]["value"] == 2  # a regex that matches keeps it whatever follows
    assert measured(counter, {"l": "yes"}) == []


def test_logs_can_be_discarded(plugins: PluginKit) -> None:
    counter = make(plugins, regex="l ^n", discard_logs=True)
    emitted = Emitted()
    assert len(counter.process(Batch("t", [1, 2], [{"l": "no"}, {"l": "yes"}], None, 10), emitted)) == 0
    assert len(emitted) == 1


@pytest.mark.parametrize(
    ("properties", "why"),
    [
        ({"metric_mode": "gauge"}, "'value_field': a gauge needs"),
        ({"add_label": "w"}, "'add_label': 'w': expected"),
        ({"add_label": "w $a["}, "'add_label'"),
        ({"label_field": "$"}, "'label_field'"),
        ({"regex": "a ("}, "'regex'"),
    ],
)
def test_what_cannot_work_is_refused(plugins: PluginKit, properties: dict[str, Any], why: str) -> None:
    with pytest.raises(InvalidProperty, match=re.escape(why)):
        make(plugins, **properties)


async def test_metrics_go_to_their_outputs_past_the_filters_and_logs_to_theirs(kit: EngineKit) -> None:
    pipeline = """
        service: {flush: 0.05}
        pipeline:
          inputs: [{name: dummy, tag: app, samples: 5, rate: 100, dummy: '{"status": "ok"}'}]
          filters:
            - {name: log_to_metrics, match: '*', tag: counted, metric_description: Seen., label_field: status}
            - {name: log_to_metrics, match: '*', tag: app, metric_description: Again., metric_name: b}
            - {name: modify, match: '*', set: name changed}
          outputs:
            - {name: file, match: counted, file: counted, format: plain}
            - {name: file, match: app, file: app, format: plain}
        """
    async with kit.run(pipeline) as running:
        while not any(line.endswith('{status="ok"} = 5') for line in kit.lines("counted")):
            await kit.has_lines("counted", len(kit.lines("counted")) + 1)
        assert not await running.stop()
    assert all("log_metric_counter_a" in line for line in kit.lines("counted"))
    logs = [line for line in kit.lines("app") if line.startswith("{")]
    assert logs == ['{"status":"ok","name":"changed"}'] * 5
    assert [line for line in kit.lines("app") if line not in logs][-1].endswith("log_metric_counter_b = 5")
    assert running.metrics("filter", "log_to_metrics.1").records == 5


async def test_counters_outlive_a_reload_that_leaves_the_filter_alone(kit: EngineKit) -> None:
    pipeline = """
        service: {flush: 0.05, hot_reload: on}
        pipeline:
          inputs: [{name: dummy, tag: TAG, samples: 3, rate: 100}]
          filters: [{name: log_to_metrics, match: '*', tag: m, metric_description: Seen.}]
          outputs: [{name: file, match: m, file: m, format: plain}]
        """
    async with kit.run(pipeline.replace("TAG", "one")) as running:
        while not kit.lines("m") or not kit.lines("m")[-1].endswith(" = 3"):
            await kit.has_lines("m", len(kit.lines("m")) + 1)
        assert await running.reload(pipeline.replace("TAG", "two"))
        while not kit.lines("m")[-1].endswith(" = 6"):
            await kit.has_lines("m", len(kit.lines("m")) + 1)
