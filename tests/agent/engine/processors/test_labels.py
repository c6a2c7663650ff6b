"""Labels of metrics, as a real Fluent Bit 5.1.1 was seen to change them."""

from __future__ import annotations

import re
from hashlib import sha256
from typing import Any

import pytest

from agent.engine.encode import metrics_text
from agent.engine.record import Batch
from agent.engine.registry import processors
from tests.agent.engine.conftest import NOW, Emitted, PluginKit


def metrics() -> Batch:
    """Two counters of one name, a gauge without labels, one with another label, a histogram."""
    about = {"type": "gauge", "help": "", "source": "test.0"}
    points: list[Any] = [
        {"name": "a_total", **about, "labels": {"host": "h1", "zone": "z"}, "value": 1},
        {"name": "a_total", **about, "labels": {"host": "h2", "zone": "z"}, "value": 2},
        {"name": "b", **about, "labels": {}, "value": 3},
        {"name": "c", **about, "labels": {"other": "o"}, "value": 4},
        {"name": "hh", **about, "labels": {"host": "x"}, "buckets": {"1": 1, "+Inf": 3}, "sum": 4.5, "count": 3},
    ]
    return Batch("v1.metrics", [NOW] * len(points), points, None, 100, "metrics")


def shown(batch: Batch) -> list[str]:
    """Name and labels of each point, as Fluent Bit prints them."""
    return re.findall(r"(?m)Z (.+?) = ", metrics_text(batch).decode())


def changed(plugins: PluginKit, name: str, **properties: Any) -> list[str]:
    return shown(plugins.make(processors, name, **properties).process(metrics(), Emitted()))


def digest(text: str) -> str:
    return sha256(text.encode()).hexdigest()


UNCHANGED = ['a_total{host="h1",zone="z"}', 'a_total{host="h2",zone="z"}', "b", 'c{other="o"}', 'hh{host="x"}']


@pytest.mark.parametrize(
    ("properties", "result"),
    [
        (
            {"insert": "new v"},
            [
                'a_total{host="h1",zone="z",new="v"}',
                'a_total{host="h2",zone="z",new="v"}',
                'b{new="v"}',
                'c{other="o",new="v"}',
                'hh{host="x",new="v"}',
            ],
        ),
        ({"insert": "Host v"}, UNCHANGED),
        (
            {"insert": "t a  'b' $TAG[1]"},
            [
                'a_total{host="h1",zone="z",t="a  \'b\' metrics"}',
                'a_total{host="h2",zone="z",t="a  \'b\' metrics"}',
                "b{t=\"a  'b' metrics\"}",
                'c{other="o",t="a  \'b\' metrics"}',
                'hh{host="x",t="a  \'b\' metrics"}',
            ],
        ),
        (
            {"update": "HOST v"},
            ['a_total{host="v",zone="z"}', 'a_total{host="v",zone="z"}', "b", 'c{other="o"}', 'hh{host="v"}'],
        ),
        ({"update": "none v"}, UNCHANGED),
        (
            {"upsert": "host v"},
            [
                'a_total{host="v",zone="z"}',
                'a_total{host="v",zone="z"}',
                'b{host="v"}',
                'c{other="o",host="v"}',
                'hh{host="v"}',
            ],
        ),
        (
            {"upsert": "brand v"},
            [
                'a_total{brand="v",host="h1",zone="z"}',
                'a_total{brand="v",host="h2",zone="z"}',
                'b{brand="v"}',
                'c{brand="v",other="o"}',
                'hh{brand="v",host="x"}',
            ],
        ),
        ({"delete": "HOST"}, ['a_total{zone="z"}', 'a_total{zone="z"}', "b", 'c{other="o"}', "hh"]),
        ({"delete": "none"}, UNCHANGED),
        (
            {"hash": "host"},
            [
                f'a_total{{host="{digest("h1")}",zone="z"}}',
                f'a_total{{host="{digest("h2")}",zone="z"}}',
                "b",
                'c{other="o"}',
                f'hh{{host="{digest("x")}"}}',
            ],
        ),
    ],
    ids=lambda value: " ".join(map(" ".join, value.items())) if isinstance(value, dict) else "",
)
def test_each_action_changes_labels_as_fluent_bit_does(
    plugins: PluginKit, properties: dict[str, str], result: list[str]
) -> None:
    assert changed(plugins, "labels", **properties) == result


def test_actions_are_in_a_fixed_order_and_may_be_several(plugins: PluginKit) -> None:
    result = changed(
        plugins, "labels", hash=("x", "gone"), insert=("x 1", "x 2"), upsert="zone q", delete=("host", "other")
    )
    x = digest("1")
    assert result == [f'{name}{{zone="q",x="{x}"}}' for name in ("a_total", "a_total", "b", "c", "hh")]


def test_points_that_others_have_are_left_as_they_are(plugins: PluginKit) -> None:
    batch = metrics()
    before = list(batch.records)
    plugins.make(processors, "labels", upsert="host v", hash="host").process(batch, Emitted())
    assert before == metrics().records
    assert batch.records != before
