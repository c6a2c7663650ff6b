"""Session ownership in a real store, by many at once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from controlplane.identity import Claims
from controlplane.identity.ownership import Verdict
from controlplane.model import AgentRow, SessionRow
from headrace import api
from headrace.errors import ForbiddenError, UnauthenticatedError
from headrace.types import AgentState
from tests.controlplane.conftest import Rules


@pytest.fixture
async def claims(rules: Rules) -> AsyncIterator[Claims]:
    async with asyncio.TaskGroup() as tasks:
        running = [tasks.create_task(rules.claims.claiming.run()), tasks.create_task(rules.claims.releasing.run())]
        yield rules.claims
        for task in running:
            task.cancel()


async def claim(claims: Claims, agent_id: str, boot: str = "b", number: int = 1) -> Verdict:
    answer = await claims.claim(agent_id=agent_id, session_id=f"{boot}{number}", boot_id=boot, session_number=number)
    return answer.verdict


async def state(rules: Rules, agent_id: str) -> AgentState:
    async with rules.store.read() as reader:
        row = await reader.get(AgentRow, agent_id)
    assert row is not None
    return row.state


async def test_a_claim_connects_an_agent(rules: Rules, claims: Claims) -> None:
    agent = (await rules.enroll()).agent_id
    assert await claim(claims, agent) is Verdict.GRANTED
    assert await state(rules, agent) is AgentState.CONNECTED
    assert (await rules.events())[-1].kind == "agent.connected"


async def test_a_whole_fleet_claims_in_few_transactions(rules: Rules, claims: Claims) -> None:
    agents = [(await rules.enroll(f"a{number}")).agent_id for number in range(60)]
    verdicts = await asyncio.gather(*(claim(claims, agent) for agent in agents))
    assert set(verdicts) == {Verdict.GRANTED}
    async with rules.store.read() as reader:
        assert {row.agent_id for row in await reader.find(SessionRow)} == set(agents)


async def test_two_processes_that_claim_at_once_are_decided_in_order(rules: Rules, claims: Claims) -> None:
    agent = (await rules.enroll()).agent_id
    verdicts = await asyncio.gather(*(claim(claims, agent, boot) for boot in ("x", "y", "x")))
    assert verdicts == [Verdict.GRANTED, Verdict.GRANTED, Verdict.DUPLICATE]
    kinds = [event.kind for event in await rules.events()]
    assert kinds.count("agent.connected") == 1
    assert kinds.count("agent.duplicate_identity") == 1


async def test_a_crash_is_waited_out_and_a_goodbye_is_not(rules: Rules, claims: Claims) -> None:
    agent = (await rules.enroll()).agent_id
    await claim(claims, agent, "x")
    await claim(claims, agent, "y")
    claims.release(agent, "y1")
    await claims.releasing.rest()
    assert await claim(claims, agent, "x", 2) is Verdict.DUPLICATE
    rules.clock.advance(101)
    assert await claim(claims, agent, "x", 2) is Verdict.GRANTED
    claims.release(agent, "x2", left=True)
    await claims.releasing.rest()
    assert await state(rules, agent) is AgentState.LOST
    assert await claim(claims, agent, "y", 2) is Verdict.GRANTED
    assert await state(rules, agent) is AgentState.CONNECTED


async def test_a_release_of_a_session_that_was_replaced_does_nothing(rules: Rules, claims: Claims) -> None:
    agent = (await rules.enroll()).agent_id
    await claim(claims, agent, "x", 1)
    await claim(claims, agent, "x", 2)
    claims.release(agent, "x1", left=True)
    await claims.releasing.rest()
    assert await state(rules, agent) is AgentState.CONNECTED


async def test_a_lease_is_renewed_only_by_its_owner(rules: Rules, claims: Claims) -> None:
    agent, other = (await rules.enroll("a")).agent_id, (await rules.enroll("b")).agent_id
    await claim(claims, agent, "x")
    await claim(claims, other, "x")
    rules.clock.advance(50)
    assert await claims.renew([(agent, "x1"), (other, "somebody else's")]) == [other]
    rules.clock.advance(60)
    assert await claim(claims, agent, "x", 1) is Verdict.STALE
    async with rules.store.read() as reader:
        rows = {row.agent_id: row for row in await reader.find(SessionRow)}
    assert rows[agent].lease_until > rules.clock.now() > rows[other].lease_until


async def test_revoked_and_unknown_agents_own_nothing(rules: Rules, claims: Claims) -> None:
    agent = (await rules.enroll()).agent_id
    await claim(claims, agent)
    await rules.fleet.agents.revoke(api.RevokeAgentRequest(agent=agent), author="ann")
    with pytest.raises(ForbiddenError):
        await claim(claims, agent, number=2)
    with pytest.raises(UnauthenticatedError):
        await claim(claims, "a-none")
