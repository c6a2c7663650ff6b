"""Metrics through the real doors: an agent's Report stream in, the store behind it, and control undisturbed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc.aio
import pytest

from controlplane.metrics.sqlite import SqliteMetricStore
from controlplane.metrics.vocabulary import Selection
from controlplane.settings import Settings
from headrace import codec
from headrace.connection import Connection
from headrace.errors import InvalidError, UnavailableError
from headrace.messages import ReportRequest, ReportResponse, Samples, Series
from headrace.rpcs.channel import CHANNEL
from headrace.testing import FakeAgent
from headrace.types import Facts, Severity
from tests.controlplane.conftest import Plane, Start, manifest
from tests.controlplane.metrics.conftest import opened
from tests.headrace.client.test_report import Memory
from tests.influxd import Influxd
from tests.processes import eventually

SERIES = (
    Series(id=1, name="fluentbit_input_records_total", tags={"pipeline": "edge", "plugin": "dummy.0"}),
    Series(id=2, name="fluentbit_output_proc_records_total", tags={"pipeline": "edge", "plugin": "null.0"}),
)


async def send(agent: FakeAgent, plane: Plane, *requests: ReportRequest) -> list[ReportResponse]:
    """What is answered on one Report stream, once the plane knows the agent."""
    await eventually(lambda: agent.agent_id in plane.running.view.agents)
    answers: list[ReportResponse] = []
    connection = Connection(plane.running.ready.channel, credential=agent.identity().credential)
    try:
        stream = connection.raw_stream(CHANNEL["Report"])
        for request in requests:
            await stream.write(codec.encode(request))
            data: Any = await stream.read()
            answers.append(codec.decode(ReportResponse, data))
        await stream.done_writing()
    except grpc.aio.AioRpcError as failure:
        raise connection.error(failure) from failure
    finally:
        await connection.close()
    return answers


def batches(count: int, *, every_s: float = 10.0, rate: float = 10.0) -> list[ReportRequest]:
    """Ending now: `rate` records come in each second, and go out."""
    start = datetime.now(UTC) - timedelta(seconds=every_s * (count - 1))
    return [
        ReportRequest(
            sequence=number + 1,
            series=SERIES if number == 0 else (),
            samples=(
                Samples(
                    at=start + timedelta(seconds=every_s * number),
                    series=(1, 2),
                    values=(rate * every_s * number, rate * every_s * number),
                ),
            ),
        )
        for number in range(count)
    ]


async def test_what_an_agent_reports_is_acknowledged_and_in_the_file(start: Start, tmp_path: Path) -> None:
    async with start() as plane, await plane.agent(labels={"role": "edge", "shelf": "7"}) as agent:
        answers = await send(agent, plane, *batches(3))
        assert [answer.stored for answer in answers] == [1, 2, 3]
    names: Sequence[str] = [series.name for series in SERIES]
    async with opened(SqliteMetricStore(tmp_path / "d" / "metrics.db")) as store:
        recent = await store.latest(Selection(names=tuple(names)), since_ms=0)
        assert [one.last for one in recent] == [200.0, 200.0]
        tags = dict(recent[0].series.tags)
        assert tags == {"agent": agent.agent_id, "pipeline": "edge", "plugin": "dummy.0", "role": "edge"}


async def test_agents_are_told_the_time_and_how_often_to_measure(start: Start) -> None:
    heard: list[tuple[datetime, float]] = []
    before = datetime.now(UTC)
    async with start(sample_s=30.0) as plane:
        fake = await plane.agent(on_time=lambda at, took_s: heard.append((at, took_s)), backlog=Kept())
        async with fake as agent:
            await agent.until(lambda a: a.welcome is not None)
            (answer,) = await send(agent, plane, *batches(1))
    assert agent.welcome is not None
    assert agent.welcome.sample_interval_ms == 30_000
    assert answer.at is not None
    assert [before < at < answer.at and took_s >= 0 for at, took_s in heard] == [True]


async def test_a_clock_that_is_wrong_is_an_event_and_in_the_description_of_the_agent(start: Start) -> None:
    async with start() as plane, await plane.agent(name="one") as agent:
        for ahead_ms in (-600_000, -605_000, 0):
            agent.set_facts(Facts(name="one", clock_ahead_ms=ahead_ms))

            async def told(ahead_ms: int = ahead_ms) -> bool:
                return (await plane.client.get_agent("one")).facts.clock_ahead_ms == ahead_ms

            await eventually(told)
        (wrong,) = await plane.events("agent.clock_wrong")
        assert (wrong.severity, wrong.agent_id) == (Severity.WARNING, agent.agent_id)
        assert wrong.message.startswith("one: its clock is 10m behind the control plane's")
        (right,) = await plane.events("agent.clock_right")
        assert right.message == "one: its clock was 10m 5s behind the control plane's"


def test_an_interval_that_no_agent_would_keep_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidError, match=r"--sample-interval is from 1 to 3600 seconds, not 0\.5"):
        Settings(data_dir=tmp_path, sample_s=0.5)


class Kept(Memory):
    """A backlog whose batches are a second apart, and begin an hour ago; the value is the sequence."""

    def add(self, count: int = 1) -> None:
        begin = datetime.now(UTC).replace(minute=0, second=0, microsecond=0) - timedelta(hours=1)
        known = self.last
        super().add(count)
        self.batches = [
            batch
            if batch.sequence <= known
            else replace(batch, samples=(replace(batch.samples[0], at=begin + timedelta(seconds=batch.sequence)),))
            for batch in self.batches
        ]


async def test_without_a_store_welcome_says_so_and_a_report_is_refused_in_words(start: Start) -> None:
    backlog = Kept()
    backlog.add(3)
    async with start(metrics="none") as plane, await plane.agent(backlog=backlog) as agent:
        await plane.client.apply_pipelines([manifest()])
        await agent.until(lambda a: "edge" in a.observed())
        assert len(backlog.batches) == 3
        with pytest.raises(UnavailableError, match="keeps no metrics"):
            await send(agent, plane, *batches(1))


async def test_control_goes_on_while_the_store_is_away_and_what_was_kept_back_arrives(
    start: Start, influxd: Influxd
) -> None:
    influxd.stop()
    url = f"influxdb://127.0.0.1:{influxd.port}/metrics"
    async with start(metrics=url) as plane, await plane.agent() as agent:
        requests = batches(3)
        (answer,) = await send(agent, plane, requests[0])
        assert answer.stored == 0
        assert answer.retry_after_ms > 0
        await plane.client.apply_pipelines([manifest()])
        await agent.until(lambda a: "edge" in a.observed())
        influxd.start()

        async def stored() -> bool:
            answers = await send(agent, plane, *requests)
            return [answer.stored for answer in answers] == [1, 2, 3]

        await eventually(stored)
        (series,) = influxd.query('SELECT count("value") FROM "fluentbit_input_records_total"', database="metrics")
        assert series["values"][0][1] == 3


@pytest.mark.soak
async def test_a_store_that_is_killed_under_load_and_a_plane_that_starts_anew_lose_and_double_nothing(
    start: Start, influxd: Influxd
) -> None:
    backlog, url = Kept(), f"influxdb://127.0.0.1:{influxd.port}/metrics"
    async with start(metrics=url) as plane, await plane.agent(backlog=backlog) as agent:
        identity = agent.identity()
        backlog.add(20)
        await eventually(lambda: len(backlog.batches) <= 15, timeout=60)
        influxd.kill()
        backlog.add(20)
        await plane.client.apply_pipelines([manifest()])
        await agent.until(lambda a: "edge" in a.observed())
        influxd.start()
        await eventually(lambda: len(backlog.batches) <= 25, timeout=60)
    async with start(metrics=url) as plane, await plane.agent("-", identity=identity, backlog=backlog):
        backlog.add(5)
        await eventually(lambda: not backlog.batches, timeout=60)
    assert backlog.refused == []
    (series,) = influxd.query('SELECT "value" FROM "fluentbit_input_records_total" GROUP BY *', database="metrics")
    assert [value for _, value in series["values"]] == list(range(1, 46))
    assert series["tags"] == {"agent": identity.agent_id, "pipeline": "p", "plugin": "dummy.0"}
