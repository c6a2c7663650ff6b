"""Two control planes on one Postgres serve one fleet."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

from headrace.testing import FakeAgent, SeverableProxy
from headrace.types import Facts
from tests.controlplane.conftest import Plane, Start, manifest, quick
from tests.processes import eventually
from tests.servers import Postgres


async def until_good(plane: Plane, agents: int) -> None:
    async def reached() -> bool:
        return (await plane.client.get_pipeline("edge")).phases == {"good": agents}

    await eventually(reached)


async def test_a_change_through_one_reaches_agents_of_the_other_and_both_tell_the_truth(
    start: Start, postgres_url: str
) -> None:
    async with start(data="one", state=postgres_url) as one, start(data="two", state=postgres_url) as two:
        async with await one.agent(name="a") as a, await two.agent(name="b") as b:
            await one.client.apply_pipelines([manifest()])
            for agent in (a, b):
                await agent.until(lambda a: "edge" in a.observed())
            for plane in (one, two):
                await until_good(plane, 2)
            await two.client.apply_pipelines([manifest(tag="u")])
            for agent in (a, b):
                await agent.until(lambda a: b"u" in a.contents["edge"])
            statuses = [await plane.client.get_status() for plane in (one, two)]
            assert [status.sessions for status in statuses] == [1, 1]
            assert {status.instance_id for status in statuses} == {statuses[0].instance_id}
            assert statuses[0].replica != statuses[1].replica
            replicas = {agent.facts.name: agent.replica for agent in await two.client.list_agents()}
            assert replicas == {"a": statuses[0].replica, "b": statuses[1].replica}


async def test_a_watcher_on_one_sees_what_agents_of_the_other_report(start: Start, postgres_url: str) -> None:
    async with start(data="one", state=postgres_url) as one, start(data="two", state=postgres_url) as two:
        async with await two.agent(name="b"):
            await one.client.apply_pipelines([manifest()])
            async with asyncio.timeout(10):
                async for pipeline in one.client.watch_pipeline("edge"):
                    if pipeline.phases == {"good": 1}:
                        break


async def test_commands_and_revocation_reach_the_replica_that_holds_the_session(
    start: Start, postgres_url: str
) -> None:
    async with start(data="one", state=postgres_url) as one, start(data="two", state=postgres_url) as two:
        async with await two.agent(name="b") as b:
            await one.client.apply_pipelines([manifest()])
            await until_good(one, 1)
            (result,) = await one.client.restart_pipeline("edge")
            assert result.ok
            assert await one.client.get_logs("edge", "b") == ""
            await one.client.revoke_agent("b")
            async with asyncio.timeout(2):
                await b.until(lambda a: not a.state.connected)


async def test_an_agent_that_moves_between_replicas_is_held_by_the_right_one_without_alarm(
    start: Start, postgres_url: str
) -> None:
    async with start(data="one", state=postgres_url) as one, start(data="two", state=postgres_url) as two:
        async with SeverableProxy(one.running.ready.channel) as proxy:
            async with FakeAgent(proxy.address, token=await one.token(), facts=Facts(name="a")) as before:
                await before.until(lambda a: a.completed > 0)
                proxy.stall()
                async with FakeAgent(two.running.ready.channel, identity=before.identity()) as after:
                    await after.until(lambda a: a.completed > 0)
                    await eventually(lambda: len(one.running.sessions) == 0)
                    assert len(two.running.sessions) == 1
                    await one.client.apply_pipelines([manifest()])
                    await after.until(lambda a: "edge" in a.observed())
                    assert await one.events("agent.duplicate_identity") == []
                proxy.sever()


async def test_agents_of_a_replica_that_stops_move_to_the_other_before_it_is_gone(
    start: Start, postgres_url: str
) -> None:
    async with AsyncExitStack() as first:
        one = await first.enter_async_context(start(data="one", state=postgres_url, drain_s=5.0))
        async with start(data="two", state=postgres_url) as two:
            async with SeverableProxy(one.running.ready.channel) as proxy:
                async with FakeAgent(proxy.address, token=await one.token(), facts=Facts(name="a")) as agent:
                    await one.client.apply_pipelines([manifest()])
                    await agent.until(lambda a: "edge" in a.observed())
                    proxy.retarget(two.running.ready.channel)
                    async with asyncio.timeout(20):
                        await first.aclose()
                    await eventually(lambda: len(two.running.sessions) == 1)
                    await two.client.apply_pipelines([manifest(tag="u")])
                    await agent.until(lambda a: b"u" in a.contents["edge"])


async def test_agents_of_a_replica_that_died_are_judged_by_the_other(start: Start, postgres_url: str) -> None:
    async with AsyncExitStack() as first:
        one = await first.enter_async_context(start(data="one", state=postgres_url, **quick()))
        async with start(data="two", state=postgres_url, **quick()) as two:
            async with await one.agent(name="a") as agent:
                await agent.until(lambda a: a.completed > 0)
                await first.aclose()

                async def lost() -> bool:
                    return (await two.client.get_agent("a")).state == "lost"

                await eventually(lost)


async def test_a_postgres_that_is_killed_is_waited_out(
    start: Start, postgres_url: str, postgres_server: Postgres
) -> None:
    async with start(data="one", state=postgres_url) as one, await one.agent(name="a") as agent:
        await one.client.apply_pipelines([manifest()])
        await until_good(one, 1)
        postgres_server.kill()
        report = agent.observed()["edge"]
        agent.report(type(report)(pipeline="edge", desired=1, attempt=report.attempt, running=report.running))
        postgres_server.start()

        async def running() -> bool:
            try:
                return (await one.client.get_pipeline("edge")).phases == {"running": 1}
            except Exception:
                return False

        await eventually(running, timeout=30)
        await one.client.apply_pipelines([manifest(tag="u")])
        await until_good(one, 1)
