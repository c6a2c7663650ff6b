"""The fleet's metrics for Prometheus: what the store has, once for many scrapers, with the times of the agents."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest
from prometheus_client.parser import text_string_to_metric_families

from controlplane.metrics import export
from controlplane.metrics.export import GOOD_FOR_S, FleetExport
from controlplane.metrics.vocabulary import Recent, Selection, Series, StoreUnavailableError
from controlplane.settings import Settings
from controlplane.view import View
from headrace.errors import InvalidError
from tests.conftest import Clock
from tests.controlplane.conftest import Start
from tests.controlplane.metrics.test_edge import batches, send
from tests.controlplane.test_http import fetch, get

RECORDS = "fluentbit_input_records_total"


class Memory:
    """A store that knows the newest points, and counts how often it was asked."""

    def __init__(self) -> None:
        self.found: list[Recent] = []
        self.asked: list[int] = []
        self.error: Exception | None = None

    async def latest(self, selection: Selection, *, since_ms: int) -> tuple[Recent, ...]:
        self.asked.append(since_ms)
        await asyncio.sleep(0)
        if self.error is not None:
            raise self.error
        return tuple(recent for recent in self.found if selection.matches(recent.series) and recent.last_ms >= since_ms)


class Kit:
    def __init__(self, clock: Clock) -> None:
        self.clock, self.store, self.view = clock, Memory(), View()
        self.view.agents["a-1"] = SimpleNamespace(row=SimpleNamespace(facts=SimpleNamespace(name="one")))  # type: ignore[assignment]  # all that is read
        self.export = FleetExport(
            self.store,  # type: ignore[arg-type]  # what an export needs of one
            view=self.view,
            labels=("app.kubernetes.io/name", "role"),
            clock=clock.now,
            monotonic=clock,
            window_s=60,
        )

    def add(self, name: str, value: float, *, seconds: float = 0.0, **tags: str) -> int:
        at_ms = round((self.clock.now() + timedelta(seconds=seconds)).timestamp() * 1000)
        named = {key.replace("_", "."): value for key, value in tags.items()}
        self.store.found.append(Recent(Series.of(name, {"agent": "a-1", **named}), at_ms, 0.0, at_ms, value))
        return at_ms

    async def samples(self) -> Sequence[tuple[str, str, dict[str, str], float, float]]:
        families = text_string_to_metric_families((await self.export.text()).decode())
        return [
            (family.type, sample.name, dict(sample.labels), sample.value, float(sample.timestamp or 0))
            for family in families
            for sample in family.samples
        ]


@pytest.fixture
def kit(clock: Clock) -> Kit:
    return Kit(clock)


async def test_samples_have_names_labels_and_the_time_of_the_agent(kit: Kit) -> None:
    at_ms = kit.add(RECORDS, 2.0**53, seconds=-20, pipeline="edge", plugin='tail "x"\\y', app_name="n")
    kit.add("fluentbit_uptime", 7.5, pipeline="edge")
    kit.add("headrace_host_load1", 1.0)
    counter, gauge = await kit.samples()
    labels = {"agent": "one", "agent_id": "a-1", "pipeline": "edge", "plugin": 'tail "x"\\y', "app_name": "n"}
    assert counter == ("counter", RECORDS, labels, 2.0**53, at_ms / 1000)
    assert gauge[:2] == ("gauge", "fluentbit_uptime")


async def test_many_scrapers_are_one_question_and_what_is_old_is_not_told(kit: Kit) -> None:
    kit.add(RECORDS, 1.0)
    texts = await asyncio.gather(*(kit.export.text() for _ in range(20)))
    assert (len(kit.store.asked), len({*texts})) == (1, 1)
    kit.clock.advance(GOOD_FOR_S)
    await kit.export.text()
    assert len(kit.store.asked) == 2
    kit.clock.advance(61)
    assert await kit.samples() == []


async def test_a_label_that_changed_gives_one_sample_and_what_is_too_much_is_said(
    kit: Kit, monkeypatch: pytest.MonkeyPatch
) -> None:
    kit.add(RECORDS, 1.0, seconds=-10, role="old")
    kit.add(RECORDS, 2.0, role="new")
    kit.add(RECORDS, 3.0, plugin="tail.1")
    assert [(labels.get("role"), value) for _, _, labels, value, _ in await kit.samples()] == [
        (None, 3.0),
        ("new", 2.0),
    ]
    monkeypatch.setattr(export, "MOST_SERIES", 1)
    kit.clock.advance(GOOD_FOR_S)
    assert (await kit.export.text()).startswith(b"# 1 series are left out: more than 1\n")
    assert len(await kit.samples()) == 1


async def test_a_store_that_is_away_is_asked_again_at_once(kit: Kit) -> None:
    kit.store.error = StoreUnavailableError("away")
    with pytest.raises(StoreUnavailableError):
        await kit.export.text()
    kit.store.error = None
    assert await kit.samples() == []


async def test_it_is_served_where_it_was_asked_for(start: Start) -> None:
    async with start(fleet_metrics=True) as plane, await plane.agent(name="one") as agent:
        await send(agent, plane, *batches(2))
        status, text = await fetch(plane.running.ready.http, get("/metrics/fleet"))
        assert status == 200
        (family,) = [
            each for each in text_string_to_metric_families(text) if each.name == RECORDS.removesuffix("_total")
        ]
        assert [(sample.labels["agent"], sample.value) for sample in family.samples] == [("one", 100.0)]


def test_without_a_store_it_is_refused_at_the_start(tmp_path: Path) -> None:
    with pytest.raises(InvalidError, match="--fleet-metrics needs a metric store"):
        Settings(data_dir=tmp_path, metrics="none", fleet_metrics=True)
