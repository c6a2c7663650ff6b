"""Who needs an operator's approval waits without an identity, and gets one by its key, once somebody approved."""

from __future__ import annotations

from datetime import timedelta
from functools import partial
from pathlib import Path

import pytest

from agent import keys
from controlplane.app import opened
from controlplane.identity import Approvals, Enrolment
from controlplane.identity.approvals import AGAIN, WAITS
from controlplane.model import AgentRow, ApplicationRow, EventRow
from headrace import api
from headrace.client import Identity, enroll
from headrace.errors import ForbiddenError, InvalidError, NotFoundError, UnauthenticatedError
from headrace.messages import EnrollRequest, EnrollResponse
from headrace.testing import FakeAgent
from headrace.types import AgentState, Facts
from tests.conftest import Clock
from tests.controlplane.conftest import Rules, Start, manifest


class Waiting:
    """The rules of enrolment where an operator has to approve, and one token for it."""

    def __init__(self, rules: Rules, folder: Path) -> None:
        self.rules = rules
        self.folder = folder
        self.approvals = Approvals(store=rules.store, clock=rules.clock.now)
        self.enrolment = Enrolment(store=rules.store, clock=rules.clock.now)
        self.token = ""

    async def start(self, **terms: object) -> Waiting:
        made = await self.rules.tokens.create(api.CreateTokenRequest(approve=True, **terms), author="ann")  # type: ignore[arg-type]
        self.token = made.secret
        return self

    async def ask(self, name: str = "new", *, uses: str = "", token: str = "", **claims: str) -> EnrollResponse:
        """As the agent of this name, with its own key or that of `uses`."""
        folder = self.folder / (uses or name)
        folder.mkdir(exist_ok=True)
        request = EnrollRequest(
            token=token or self.token, facts=Facts(name=name), csr=keys.request(folder), claims=claims
        )
        return await self.enrolment.enroll(request, peer="ipv4:10.0.0.9:1")

    async def approve(self, name: str, replaces: str = "") -> str:
        return await self.approvals.approve(api.ApproveAgentRequest(agent=name, replaces=replaces), author="ann")

    async def events(self) -> list[EventRow]:
        return [event for event in await self.rules.events() if event.kind.startswith("agent.")]


@pytest.fixture
async def waiting(rules: Rules, tmp_path: Path) -> Waiting:
    return await Waiting(rules, tmp_path).start()


@pytest.mark.parametrize("backend", ["sqlite", pytest.param("postgres", marks=pytest.mark.soak)])
async def test_it_waits_as_often_as_it_asks_and_is_let_in_once_it_was_approved(
    request: pytest.FixtureRequest, backend: str, clock: Clock, tmp_path: Path
) -> None:
    url = request.getfixturevalue("postgres_url") if backend == "postgres" else f"sqlite:///{tmp_path / 'rules.db'}"
    async with opened(url) as store:
        waiting = await Waiting(Rules(store, clock, tmp_path), tmp_path).start()
        for _ in range(3):  # one use of the token, which is good for one
            response = await waiting.ask()
            assert response == EnrollResponse(pending_until=clock.now() + AGAIN)
        (shown,) = await waiting.approvals.matching("")
        assert (shown.facts.name, shown.state, shown.waits, shown.source) == (
            "new",
            AgentState.PENDING,
            True,
            "10.0.0.9",
        )
        async with store.read() as reader:
            assert await reader.find(AgentRow) == []  # so nothing is desired of it
        clock.advance(7200)  # and the token has expired
        id = await waiting.approve("new")
        response = await waiting.ask()
        assert (response.agent_id, response.pending_until) == (id, None)
        assert response.credential
        assert await waiting.approvals.matching("") == ()
        told = [(event.kind, event.actor) for event in await waiting.events()]
        assert told == [("agent.pending", ""), ("agent.approved", "ann"), ("agent.enrolled", "")]
        with pytest.raises(UnauthenticatedError, match="expired"):
            await waiting.ask("another")


async def test_one_that_was_denied_is_told_so_and_it_is_one_event(waiting: Waiting) -> None:
    await waiting.ask()
    await waiting.approvals.deny(api.DenyAgentRequest(agent="new", reason="not ours"), author="bob")
    for _ in range(3):
        with pytest.raises(ForbiddenError, match="denied: bob refused agent 'new': not ours; ask them"):
            await waiting.ask()
    assert [event.kind for event in await waiting.events()] == ["agent.pending", "agent.denied"]
    assert await waiting.approvals.matching("") == ()


async def test_what_nobody_decides_or_takes_up_ends_and_a_revoked_token_ends_it_at_once(waiting: Waiting) -> None:
    await waiting.start(max_uses=9)
    await waiting.ask("one")
    await waiting.ask("two")
    await waiting.approve("two")
    waiting.rules.clock.advance(WAITS / timedelta(seconds=1) + 1)
    await waiting.approvals.sweep()
    with pytest.raises(NotFoundError, match="no agent 'one' waits for approval"):
        await waiting.approve("one")
    told = [event.message for event in await waiting.events() if event.kind == "agent.expired"]
    assert [message.partition("was ")[2] for message in sorted(told)] == [
        "decided on by nobody",
        "approved of, and did not come back",
    ]
    await waiting.start()
    await waiting.ask("three")
    await waiting.rules.tokens.revoke(waiting.token[4:].partition(".")[0], author="ann")
    with pytest.raises(UnauthenticatedError, match="revoked: "):
        await waiting.ask("three")


async def test_an_agent_that_lost_its_key_keeps_its_id_by_approval_and_without_it_is_another_one(
    waiting: Waiting,
) -> None:
    known = await waiting.rules.tokens.create(api.CreateTokenRequest(), author="ann")
    before = await waiting.ask("node", token=known.secret)
    await waiting.start(max_uses=9)
    # With its key it is the same agent, and nobody needs to approve of that.
    again = await waiting.ask("node", credential=before.credential)
    assert again.agent_id == before.agent_id
    # With the credential alone it waits, and the operator sees whose it shows.
    await waiting.ask("node", uses="new disk", credential=again.credential)
    (shown,) = await waiting.approvals.matching("")
    assert shown.claimed == before.agent_id
    with pytest.raises(NotFoundError, match="there is no agent 'none' whose id could be kept"):
        await waiting.approve("node", replaces="none")
    assert await waiting.approve("node", replaces="node") == before.agent_id
    after = await waiting.ask("node", uses="new disk", credential=again.credential)
    assert after.agent_id == before.agent_id
    async with waiting.rules.store.read() as reader:
        (row,) = await reader.find(AgentRow)
        assert await reader.find(ApplicationRow) == []
    assert row.id == before.agent_id
    with pytest.raises(UnauthenticatedError):  # the one before it is good for nothing
        await waiting.rules.authority.authenticate(again.credential)
    # Another key with the old credential is nobody.
    await waiting.ask("node", uses="copy", credential=again.credential)
    (shown,) = await waiting.approvals.matching("")
    assert (shown.claimed, await waiting.approve("node") != before.agent_id) == ("", True)


async def test_one_that_comes_with_another_token_keeps_its_place(waiting: Waiting) -> None:
    await waiting.ask("node")
    (first,) = await waiting.approvals.matching("")
    await waiting.start(max_uses=1)
    await waiting.ask("node")
    (second,) = await waiting.approvals.matching("")
    assert (second.id, second.token_id != first.token_id) == (first.id, True)
    assert await waiting.approve("node") == first.id
    assert (await waiting.ask("node")).agent_id == first.id


async def test_two_of_one_name_are_told_apart_by_id_and_one_without_a_key_cannot_wait(waiting: Waiting) -> None:
    await waiting.start(max_uses=3)
    await waiting.ask("twin", uses="left")
    await waiting.ask("twin", uses="right")
    with pytest.raises(InvalidError, match=r"2 agents called 'twin' wait; say which by its id: a-.* at 10\.0\.0\.9"):
        await waiting.approve("twin")
    first, _ = await waiting.approvals.matching("")
    assert await waiting.approve(first.id) == first.id
    with pytest.raises(ForbiddenError, match="is known by its key, and it showed none"):
        await waiting.enrolment.enroll(EnrollRequest(token=waiting.token, facts=Facts(name="bare")), peer="p")


async def test_an_agent_waits_is_listed_and_gets_no_pipeline_until_it_was_approved(
    start: Start, tmp_path: Path
) -> None:
    async with start(approve=True) as plane:
        door = plane.running.ready.channel
        await plane.client.apply_pipelines([manifest()])
        request = EnrollRequest(
            token=await plane.token(uses=1), facts=Facts(name="edge", version="0"), csr=keys.request(tmp_path)
        )
        for _ in range(2):
            assert (await enroll(door, request)).pending_until is not None
        (shown,) = await plane.client.list_agents()
        assert (shown.facts.name, shown.state, shown.waits) == ("edge", AgentState.PENDING, True)
        assert [await plane.client.get_agent(name) for name in ("edge", shown.id)] == [shown, shown]
        (change,) = (await plane.client.apply_pipelines([manifest(tag="u")])).changes
        assert change.agents == 0
        with pytest.raises(NotFoundError, match="no agent 'edg'"):
            await plane.client.get_agent("edg")
        id = await plane.client.approve_agent("edge")
        response = await enroll(door, request)
        assert response.agent_id == id
        identity = Identity(agent_id=id, credential=response.credential, sign=partial(keys.sign, tmp_path))
        async with FakeAgent(door, identity=identity, facts=request.facts) as agent:
            await agent.until(lambda a: "edge" in a.contents)
        assert [agent.waits for agent in await plane.client.list_agents()] == [False]
