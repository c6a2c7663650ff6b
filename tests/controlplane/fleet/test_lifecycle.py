"""What an agent is after how much silence."""

from __future__ import annotations

import asyncio
import itertools

import pytest

from controlplane.fleet.lifecycle import Lifecycle, Timings, state_after
from controlplane.model import AgentRow
from headrace.types import AgentState
from tests.controlplane.conftest import Rules

TIMINGS = Timings(suspect=60, lost=100, gone=1000)
S = AgentState


@pytest.mark.parametrize(
    ("silence", "held", "after"),
    [
        # pending, connected, suspect, lost
        (0, True, (S.PENDING, S.CONNECTED, S.CONNECTED, S.CONNECTED)),
        (59, True, (S.PENDING, S.CONNECTED, S.CONNECTED, S.CONNECTED)),
        (59, False, (S.PENDING, S.CONNECTED, S.CONNECTED, S.LOST)),
        (60, True, (S.PENDING, S.SUSPECT, S.SUSPECT, S.SUSPECT)),
        (60, False, (S.PENDING, S.SUSPECT, S.SUSPECT, S.LOST)),
        (100, True, (S.PENDING, S.LOST, S.LOST, S.LOST)),
        (999, False, (S.PENDING, S.LOST, S.LOST, S.LOST)),
        (1000, False, (S.GONE, S.GONE, S.GONE, S.GONE)),
    ],
)
def test_silence_moves_an_agent_along(silence: float, held: bool, after: tuple[AgentState, ...]) -> None:
    before = (S.PENDING, S.CONNECTED, S.SUSPECT, S.LOST)
    assert tuple(state_after(state, silence, TIMINGS, held=held) for state in before) == after


@pytest.mark.parametrize(("silence", "held"), list(itertools.product((0, 60, 100, 1e9), (True, False))))
def test_what_has_ended_stays_ended(silence: float, held: bool) -> None:
    for state in (S.GONE, S.REVOKED):
        assert state_after(state, silence, TIMINGS, held=held) is state


async def states(rules: Rules) -> dict[str, AgentState]:
    async with rules.store.read() as reader:
        return {row.name: row.state for row in await reader.find(AgentRow)}


async def connect(rules: Rules, name: str) -> str:
    """An agent with a session that some replica holds."""
    agent = (await rules.enroll(name)).agent_id
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(rules.claims.claiming.run())
        await rules.claims.claim(agent_id=agent, session_id=f"s-{name}", boot_id="b", session_number=1)
        running.cancel()
    await rules.follow()
    return agent


def lifecycle(rules: Rules) -> Lifecycle:
    return Lifecycle(
        store=rules.store,
        view=rules.view,
        timings=TIMINGS,
        lease_s=100,
        retention_s=5000,
        clock=rules.clock.now,
    )


async def test_each_replica_judges_its_own_by_ear_and_the_others_by_their_leases(rules: Rules) -> None:
    sweeper = lifecycle(rules)
    mine, other = await connect(rules, "mine"), await connect(rules, "other")
    await rules.enroll("new")
    await rules.follow()
    rules.clock.advance(70)
    await sweeper.sweep({mine: 1.0})
    assert await states(rules) == {"mine": S.CONNECTED, "other": S.SUSPECT, "new": S.PENDING}
    await rules.claims.renew([(other, "s-other")])
    await rules.follow()
    await sweeper.sweep({mine: 65.0})
    assert await states(rules) == {"mine": S.SUSPECT, "other": S.CONNECTED, "new": S.PENDING}
    assert [event.message for event in await rules.events() if event.kind == "agent.connected"][-1] == (
        "other, suspect before"
    )
    rules.clock.advance(2000)
    await rules.follow()
    await sweeper.sweep({})
    assert await states(rules) == {"mine": S.GONE, "other": S.GONE, "new": S.GONE}


async def test_an_agent_that_came_back_while_it_was_judged_stays(rules: Rules) -> None:
    sweeper = lifecycle(rules)
    other = await connect(rules, "other")
    rules.clock.advance(500)
    stale = rules.view.agents[other]
    await rules.claims.renew([(other, "s-other")])
    assert rules.view.agents[other] is stale
    await sweeper.sweep({})
    assert await states(rules) == {"other": S.CONNECTED}


async def test_the_end_of_a_silent_session_is_no_sign_of_life(rules: Rules) -> None:
    sweeper = lifecycle(rules)
    agent = await connect(rules, "a")
    rules.clock.advance(100)
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(rules.claims.releasing.run())
        rules.claims.release(agent, "s-a", silence_s=100)
        await rules.claims.releasing.rest()
        running.cancel()
    await rules.follow()
    await sweeper.sweep({})
    assert await states(rules) == {"a": S.LOST}


async def test_nobody_was_silent_while_no_replica_was_there_to_hear(rules: Rules) -> None:
    await connect(rules, "a")
    rules.clock.advance(10_000)
    sweeper = lifecycle(rules)
    await sweeper.sweep({})
    assert await states(rules) == {"a": S.CONNECTED}
    rules.clock.advance(70)
    await sweeper.sweep({})
    assert await states(rules) == {"a": S.SUSPECT}


async def test_what_is_past_its_retention_is_forgotten(rules: Rules) -> None:
    sweeper = lifecycle(rules)
    gone = await connect(rules, "gone")
    rules.clock.advance(2000)
    await sweeper.sweep({})
    await connect(rules, "here")
    rules.clock.advance(5001)
    await rules.follow()
    await sweeper.trim()
    assert gone not in await states(rules)
    assert await states(rules) == {"here": S.CONNECTED}
