"""The control plane as a whole, in one process, over loopback: what its agents and its callers see."""

from __future__ import annotations

import asyncio

import pytest
from prometheus_client.parser import text_string_to_metric_families

from headrace.errors import ConfirmError, NotFoundError
from headrace.types import Phase
from tests.controlplane.conftest import Plane, Start, manifest
from tests.processes import eventually


async def test_a_pipeline_reaches_an_agent_and_what_it_observed_comes_back(start: Start) -> None:
    async with start() as plane, await plane.agent(labels={"role": "edge"}) as agent:
        answer = await plane.client.apply_pipelines([manifest(selector="role=edge")])
        await agent.until(lambda a: "edge" in a.observed())

        async def good() -> bool:
            pipeline = await plane.client.get_pipeline("edge")
            return pipeline.phases == {"good": 1}

        await eventually(good)
        (workload,) = (await plane.client.get_pipeline("edge")).workloads
        assert workload.observed is not None
        assert workload.generation == workload.observed.desired == answer.changes[0].generation
        assert workload.agent_id == agent.agent_id
        assert {event.kind for event in await plane.events()} == {
            "plane.started",
            "pipeline.applied",
            "agent.connected",
            "agent.enrolled",
            "token.created",
        }


async def test_a_burst_of_fifty_changes_ends_on_the_last(start: Start) -> None:
    async with start() as plane, await plane.agent() as agent:
        for number in range(50):
            answer = await plane.client.apply_pipelines([manifest(tag=f"t{number}")])
        last = answer.changes[0].generation
        await agent.until(lambda a: a.observed().get("edge") is not None and a.observed()["edge"].desired == last)
        generations = [message.generation for message in agent.history]
        assert generations == sorted(set(generations))
        assert b"t49" in agent.contents["edge"]


async def test_a_watcher_sees_a_change_become_good_on_every_agent(start: Start) -> None:
    async with start() as plane:
        token = await plane.token()
        async with asyncio.TaskGroup() as tasks:
            agents = [await plane.agent(token, name=f"a{number}") for number in range(5)]
            for agent in agents:
                tasks.create_task(agent.__aenter__())
        try:
            await plane.client.apply_pipelines([manifest()])
            phases = []
            async with asyncio.timeout(10):
                async for pipeline in plane.client.watch_pipeline("edge"):
                    phases.append(pipeline.phases)
                    if pipeline.phases == {"good": 5}:
                        break
            assert sum(phases[0].values()) == 5
        finally:
            for agent in agents:
                await agent.__aexit__(None, None, None)


async def test_a_deleted_pipeline_leaves_its_agents_and_then_its_watchers(start: Start) -> None:
    async with start() as plane, await plane.agent() as agent:
        await plane.client.apply_pipelines([manifest()])
        await agent.until(lambda a: "edge" in a.observed())
        seen = []

        async def watch() -> None:
            async for pipeline in plane.client.watch_pipeline("edge"):
                seen.append([workload.phase for workload in pipeline.workloads])

        async with asyncio.timeout(10), asyncio.TaskGroup() as tasks:
            tasks.create_task(watch())
            await eventually(lambda: bool(seen))
            await plane.client.delete_pipelines(["edge"])
        assert seen[-1] == []
        assert agent.observed() == {}


async def test_a_deleted_pipeline_can_be_watched_until_its_last_agent_has_let_go(start: Start) -> None:
    async with start() as plane:
        agent = await plane.agent()
        async with agent:
            await plane.client.apply_pipelines([manifest()])
            await agent.until(lambda a: "edge" in a.observed())
            await eventually(lambda: _workloads(plane))
        await plane.client.delete_pipelines(["edge"])
        watch = plane.client.watch_pipeline("edge")
        (workload,) = (await anext(watch)).workloads
        assert workload.phase is Phase.REMOVING
        async with agent:
            async with asyncio.timeout(10):
                seen = [pipeline.workloads async for pipeline in watch]
            assert seen[-1] == ()
        with pytest.raises(NotFoundError, match="was deleted by revision 2"):
            await anext(plane.client.watch_pipeline("edge"))


async def _workloads(plane: Plane) -> bool:
    return any(workload.observed for workload in (await plane.client.get_pipeline("edge")).workloads)


async def test_taking_a_pipeline_from_more_agents_than_the_bound_needs_their_number(start: Start) -> None:
    async with start(confirm_floor=1) as plane:
        token = await plane.token()
        async with (
            await plane.agent(token, name="a", labels={"role": "edge"}) as a,
            await plane.agent(token, name="b", labels={"role": "edge"}) as b,
        ):
            await plane.client.apply_pipelines([manifest(selector="role=edge")])
            for agent in (a, b):
                await agent.until(lambda a: "edge" in a.observed())
            for attempt in (
                plane.client.apply_pipelines([manifest(selector="role=egde")]),
                plane.client.delete_pipelines(["edge"]),
                plane.client.apply_pipelines([manifest(selector="role=egde")], confirm=1),
            ):
                with pytest.raises(ConfirmError, match="2 of 2 agents") as caught:
                    await attempt
                assert caught.value.confirm == 2
            assert "edge" in a.observed()
            await plane.client.apply_pipelines([manifest(selector="role=egde")], confirm=2)
            for agent in (a, b):
                await agent.until(lambda a: a.observed() == {})


async def test_a_relabelled_agent_loses_and_gains_pipelines_by_their_selectors(start: Start) -> None:
    async with start() as plane, await plane.agent(labels={"role": "edge"}) as agent:
        await plane.client.apply_pipelines([manifest("edge", "role=edge"), manifest("core", "role=core")])
        await agent.until(lambda a: set(a.observed()) == {"edge"})
        answer = await plane.client.set_labels(agent.agent_id, set={"role": "core"})
        assert (answer.gained, answer.lost) == (("core",), ("edge",))
        await agent.until(lambda a: set(a.observed()) == {"core"})
        assert agent.variables.labels == {"role": "core"}
        await plane.client.set_labels(agent.agent_id, unset=["role"])
        await agent.until(lambda a: set(a.observed()) == {"edge"})
        workload = (await plane.client.get_agent(agent.agent_id)).workloads
        assert {w.pipeline for w in workload} <= {"edge", "core"}
        assert all(w.phase is not Phase.ORPHANED for w in workload)


async def test_prometheus_sees_how_long_a_change_took_to_reach_and_to_run(start: Start) -> None:
    async with start() as plane, await plane.agent() as agent:
        await plane.client.apply_pipelines([manifest()])
        await agent.until(lambda a: "edge" in a.observed())

        async def measured() -> dict[str, float]:
            host, _, port = plane.running.ready.http.rpartition(":")
            reader, writer = await asyncio.open_connection(host, int(port))
            writer.write(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n")
            text = (await reader.read()).decode().partition("\r\n\r\n")[2]
            writer.close()
            await writer.wait_closed()
            samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
            numbers = {sample.name + "".join(sample.labels.values()): sample.value for sample in samples}
            return numbers if numbers["headrace_propagation_applied_seconds_count"] else {}

        numbers = await eventually(measured)
        assert numbers["headrace_propagation_received_seconds_count"] == 1
        assert numbers["headrace_propagation_waiting"] == 0
        assert numbers["headrace_sessions"] == 1
        assert numbers["headrace_store_seconds_countwrite"] > 0
        assert numbers["headrace_store_seconds_countread"] > 0
