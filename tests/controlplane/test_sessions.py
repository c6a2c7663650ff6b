"""Sessions of agents with a control plane: who holds one, how it ends, and what is told about it."""

from __future__ import annotations

import asyncio
import random
from contextlib import AsyncExitStack

from headrace.errors import ConflictError, ForbiddenError
from headrace.testing import FakeAgent, SeverableProxy
from headrace.types import Facts
from tests.controlplane.conftest import Plane, Start, manifest, quick
from tests.processes import eventually


async def state(plane: Plane, agent_id: str) -> str:
    return (await plane.client.get_agent(agent_id)).state.value


async def test_an_agent_that_was_killed_and_starts_again_takes_over_without_alarm(start: Start) -> None:
    async with start() as plane, SeverableProxy(plane.running.ready.channel) as proxy:
        async with FakeAgent(proxy.address, token=await plane.token(), facts=Facts(name="a")) as killed:
            await killed.until(lambda a: a.completed > 0)
            proxy.stall()
            async with FakeAgent(plane.running.ready.channel, identity=killed.identity()) as second:
                await second.until(lambda a: a.completed > 0)
                await plane.client.apply_pipelines([manifest()])
                await second.until(lambda a: "edge" in a.observed())
                assert len(plane.running.sessions) == 1
                assert await plane.events("agent.duplicate_identity") == []
            proxy.sever()
        assert "edge" not in killed.observed()


async def test_two_processes_with_one_identity_alarm_and_the_later_one_stays(start: Start) -> None:
    async with start() as plane, await plane.agent() as first:
        await first.until(lambda a: a.completed > 0)
        async with FakeAgent(plane.running.ready.channel, identity=first.identity()) as second:
            await second.until(lambda a: a.completed > 0)
            await first.until(lambda a: bool(a.refusals), timeout=30)
            assert isinstance(first.refusals[0], ConflictError)
            events = await eventually(lambda: plane.events("agent.duplicate_identity"))
            assert events[0].agent_id == first.agent_id
            await plane.client.apply_pipelines([manifest()])
            await second.until(lambda a: "edge" in a.observed())
            assert "edge" not in first.observed()


async def test_a_revoked_agent_is_cut_off_at_once_and_comes_no_more(start: Start) -> None:
    async with start() as plane, await plane.agent() as agent:
        await agent.until(lambda a: a.completed > 0)
        await plane.client.revoke_agent(agent.agent_id, reason="lost laptop")
        async with asyncio.timeout(1):
            await agent.until(lambda a: not a.state.connected)
        await agent.until(lambda a: bool(a.refusals))
        assert isinstance(agent.refusals[-1], ForbiddenError)
        assert await plane.client.list_agents() == ()
        (shown,) = await plane.client.list_agents(all=True)
        assert shown.state == "revoked"


async def test_an_agent_that_leaves_is_lost_and_one_that_comes_back_is_connected(start: Start) -> None:
    async with start() as plane:
        agent = await plane.agent()
        async with agent:
            await agent.until(lambda a: a.completed > 0)
            assert await state(plane, agent.agent_id) == "connected"
        await eventually(lambda: plane.events("agent.left"))
        assert await state(plane, agent.agent_id) == "lost"
        async with FakeAgent(plane.running.ready.channel, identity=agent.identity()) as again:
            await again.until(lambda a: a.completed > 0)
            assert await state(plane, agent.agent_id) == "connected"


async def test_silence_makes_an_agent_suspect_then_lost_then_gone(start: Start) -> None:
    async with start(**quick(gone=1.5)) as plane, SeverableProxy(plane.running.ready.channel) as proxy:
        token = await plane.token()
        async with FakeAgent(proxy.address, token=token, facts=Facts(name="a")) as agent:
            await agent.until(lambda a: a.completed > 0)
            await plane.client.apply_pipelines([manifest()])
            await agent.until(lambda a: "edge" in a.observed())
            proxy.stall()

            async def gone() -> bool:
                return await state(plane, agent.agent_id) == "gone"

            await eventually(gone)
            kinds = [event.kind for event in reversed(await plane.events()) if event.agent_id == agent.agent_id]
            assert [kind for kind in kinds if kind in ("agent.suspect", "agent.lost", "agent.gone")] == [
                "agent.suspect",
                "agent.lost",
                "agent.gone",
            ]
            assert (await plane.client.get_pipeline("edge")).workloads == ()
            proxy.sever()
            proxy.mend()

            async def connected() -> bool:
                return await state(plane, agent.agent_id) == "connected"

            await eventually(connected)

            async def good() -> bool:
                return (await plane.client.get_pipeline("edge")).phases == {"good": 1}

            await eventually(good)


async def test_a_control_plane_that_restarts_is_found_again_and_sends_nothing_twice(start: Start) -> None:
    async with AsyncExitStack() as first:
        plane = await first.enter_async_context(start())
        address = plane.running.ready.channel
        async with FakeAgent(address, token=await plane.token(), facts=Facts(name="a"), rng=random.Random(0)) as agent:
            await plane.client.apply_pipelines([manifest()])
            await agent.until(lambda a: "edge" in a.observed())

            async def good() -> bool:
                return (await plane.client.get_pipeline("edge")).phases == {"good": 1}

            await eventually(good)
            sent, completed = len(agent.history), agent.completed
            await first.aclose()
            async with start(channel=address) as plane:
                await agent.until(lambda a: a.completed > completed, timeout=30)
                assert len(agent.history) == sent
                assert await good()
