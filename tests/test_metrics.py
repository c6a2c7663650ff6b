"""Names of metrics: what the programs have, what docs/metrics.md lists, and what dashboard and alerts ask for."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client.core import Metric

from agent.counts import Counts
from agent.reporting.exporter import OwnFigures
from agent.reporting.machine import Figure, read_host
from agent.reporting.own import Sampling, own_figures
from agent.reporting.series import KEPT
from controlplane.metrics.export import NAMES
from controlplane.metrics.meters import MetricMeters
from controlplane.telemetry import Meters

REPOSITORY = Path(__file__).parent.parent
NAME = re.compile(r"\b(?:headrace|fluentbit)_[a-z0-9_]+")
SUFFIXES = {"counter": ("_total",), "gauge": ("",), "histogram": ("_bucket", "_sum", "_count")}


def control_plane() -> list[Metric]:
    meters = Meters()
    MetricMeters(meters.registry)
    return list(meters.registry.collect())


def own() -> list[Figure]:
    return list(own_figures(Counts(), Sampling(uncertain={"p": 1}), workloads=1))


def agent() -> list[Metric]:
    return list(OwnFigures(own).collect())


def documented() -> set[str]:
    return set(NAME.findall((REPOSITORY / "docs/metrics.md").read_text()))


def test_every_name_is_documented_and_no_other(tmp_path: Path) -> None:
    stored = {*KEPT, *(figure.name for figure in read_host(tmp_path))}
    plane = {f"{family.name}_total" if family.type == "counter" else family.name for family in control_plane()}
    assert documented() == stored | plane | {figure.name for figure in own()}


def test_the_fleets_page_has_what_agents_measure_of_pipelines() -> None:
    assert set(NAMES) == set(KEPT)


def expressions() -> Iterator[tuple[str, str]]:
    rules = yaml.safe_load((REPOSITORY / "deploy/prometheus/alerts.yaml").read_text())
    for group in rules["groups"]:
        for rule in group["rules"]:
            yield rule["alert"], rule["expr"]
    board = json.loads((REPOSITORY / "deploy/grafana/headrace.json").read_text())
    for panel in board["panels"]:
        for target in panel["targets"]:
            yield panel["title"], target["expr"]


@pytest.mark.parametrize(("where", "expression"), list(expressions()))
def test_an_expression_asks_for_names_that_prometheus_gets(where: str, expression: str) -> None:
    families = [*control_plane(), *agent()]
    served = {f"{family.name}{suffix}" for family in families for suffix in SUFFIXES[family.type]}
    asked = set(NAME.findall(expression))
    assert asked, where
    assert asked <= served


def test_alerts_say_what_to_do() -> None:
    rules: Any = yaml.safe_load((REPOSITORY / "deploy/prometheus/alerts.yaml").read_text())
    alerts = [rule for group in rules["groups"] for rule in group["rules"]]
    assert len({rule["alert"] for rule in alerts}) == len(alerts) > 10
    for rule in alerts:
        assert set(rule["annotations"]) == {"summary", "description"}
        assert rule["labels"]["severity"] in ("info", "warning", "critical")
