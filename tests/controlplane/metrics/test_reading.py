"""Metrics over the management API: what agents reported through the channel is asked for by name."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from headrace import api
from headrace.errors import InvalidError, NotFoundError, UnavailableError
from tests.controlplane.conftest import Start
from tests.controlplane.metrics.test_edge import batches, send


async def test_figures_are_told_by_pipeline_agent_plugin_and_label_with_names(start: Start) -> None:
    async with start() as plane:
        token = await plane.token()
        async with (
            await plane.agent(token, name="one", labels={"role": "edge"}) as one,
            await plane.agent(token, name="two", labels={"role": "core"}) as two,
        ):
            await send(one, plane, *batches(3, rate=10))
            await send(two, plane, *batches(3, rate=5))
        client = plane.client
        (all,) = await client.latest_metrics(api.LatestMetricsRequest())
        assert all.values["records_in"] == pytest.approx(15)
        assert all.values["records_out_total"] == 300
        assert all.at is not None
        by_agent = await client.latest_metrics(api.LatestMetricsRequest(by=("agent",)))
        assert {row.tags["agent"]: row.values["records_in_total"] for row in by_agent} == {"one": 200, "two": 100}
        assert {row.tags["agent_id"] for row in by_agent} == {one.agent_id, two.agent_id}
        by_plugin = await client.latest_metrics(api.LatestMetricsRequest(by=("pipeline", "plugin"), agent="two"))
        assert [(row.tags["plugin"], "records_in" in row.values) for row in by_plugin] == [
            ("dummy.0", True),
            ("null.0", False),
        ]
        by_role = await client.latest_metrics(api.LatestMetricsRequest(by=("role",), selector="role in (edge)"))
        assert [(row.tags["role"], row.values["records_in_total"]) for row in by_role] == [("edge", 200)]
        assert await client.latest_metrics(api.LatestMetricsRequest(pipeline="another")) == ()
        assert await client.latest_metrics(api.LatestMetricsRequest(agent="one", selector="role=core")) == ()


async def test_a_metric_over_time_is_cut_into_steps(start: Start) -> None:
    async with start() as plane, await plane.agent(name="one") as agent:
        await send(agent, plane, *batches(13, rate=10))
        name = "fluentbit_input_records_total"
        (line,) = await plane.client.query_metrics(
            api.QueryMetricsRequest(name=name, by=("pipeline",), step_seconds=10)
        )
        assert line.tags == {"pipeline": "edge"}
        assert sum(point.value for point in line.points) * 10 == pytest.approx(1200)
        now = datetime.now(UTC)
        (line,) = await plane.client.query_metrics(
            api.QueryMetricsRequest(
                name=name,
                start=now - timedelta(hours=1),
                end=now + timedelta(minutes=1),
                step_seconds=7200,
                within=api.Within.MAX,
                across=api.Across.SUM,
            )
        )
        assert [point.value for point in line.points] == [1200]


async def test_a_watcher_gets_figures_again_and_again(start: Start) -> None:
    async with start() as plane, await plane.agent() as agent:
        await send(agent, plane, *batches(2))
        seen = []
        async with asyncio.timeout(20):
            async for rows in plane.client.watch_metrics(api.WatchMetricsRequest(interval_seconds=1)):
                seen.append(rows)
                if len(seen) == 2:
                    break
        assert [rows[0].values["records_in_total"] for rows in seen] == [100, 100]


async def test_questions_that_cannot_be_answered_are_refused_in_words(start: Start) -> None:
    async with start() as plane:
        client = plane.client
        with pytest.raises(InvalidError, match=r"'agnet'; did you mean 'agent'\?"):
            await client.latest_metrics(api.LatestMetricsRequest(by=("agnet",)))
        with pytest.raises(NotFoundError, match="no agent 'nobody'"):
            await client.latest_metrics(api.LatestMetricsRequest(agent="nobody"))
        with pytest.raises(InvalidError, match="pipeline"):
            await client.latest_metrics(api.LatestMetricsRequest(pipeline='x" OR 1=1'))
        with pytest.raises(InvalidError, match="name of one"):
            await client.query_metrics(api.QueryMetricsRequest(name=""))
        start_at = datetime.now(UTC) - timedelta(days=30)
        with pytest.raises(InvalidError, match="at most 5000 steps"):
            await client.query_metrics(api.QueryMetricsRequest(name="m", start=start_at, step_seconds=1))
        with pytest.raises(InvalidError, match="window"):
            await client.latest_metrics(api.LatestMetricsRequest(window_seconds=10**6))


async def test_none_says_so_everywhere_and_status_says_what_was_refused(start: Start) -> None:
    async with start(metrics="none") as plane:
        assert (await plane.client.get_status()).metrics == "none: no metrics are kept"
        for ask in (
            lambda client: client.latest_metrics(api.LatestMetricsRequest()),
            lambda client: client.query_metrics(api.QueryMetricsRequest(name="m")),
            lambda client: anext(client.watch_metrics(api.WatchMetricsRequest())),
        ):
            with pytest.raises(UnavailableError, match="keeps no metrics"):
                await ask(plane.client)
    async with start(data="other") as plane, await plane.agent() as agent:
        (request,) = batches(1)
        forged = tuple(replace(series, tags={"agent": "another"}) for series in request.series)
        await send(agent, plane, replace(request, series=forged))
        told = (await plane.client.get_status()).metrics
        assert told.startswith("sqlite ")
        assert told.endswith("points refused: 2 tag that agents do not give")
