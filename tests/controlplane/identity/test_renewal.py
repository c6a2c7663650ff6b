"""The next credential and certificate take over when the agent says so, and not before; the older ones end then."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from agent import keys
from controlplane.identity import Authorities, Authority, Enrolment
from controlplane.identity.authority_files import Folder
from headrace import api
from headrace.client import Identity, enroll
from headrace.errors import ForbiddenError, InvalidError, UnauthenticatedError
from headrace.messages import EnrollRequest, EnrollResponse
from headrace.testing import FakeAgent
from headrace.types import Facts
from tests.controlplane.conftest import Rules, Start

FACTS = Facts(name="agent", version="0")


class Renewals:
    """An agent that enrolled with a key, and the rules by which it renews."""

    def __init__(self, rules: Rules, folder: Path) -> None:
        self.rules = rules
        self.folder = folder
        files = Folder(folder, lifetime_s=3600, clock=rules.clock.now)
        self.ca = Authorities(store=rules.store, view=rules.view, files=files, clock=rules.clock.now)
        self.enrolment = Enrolment(store=rules.store, clock=rules.clock.now, authorities=self.ca)
        self.authority = Authority(store=rules.store, view=rules.view, authorities=self.ca)

    async def enroll(self) -> EnrollResponse:
        token = await self.rules.tokens.create(api.CreateTokenRequest(), author="ann")
        request = EnrollRequest(token=token.secret, facts=FACTS, csr=keys.request(self.folder))
        return await self.enrolment.enroll(request, peer="p")

    async def ask(self, what: str, agent_id: str, credential: str, *, folder: Path | None = None) -> EnrollResponse:
        claims = {"renew": what, "credential": credential}
        request = EnrollRequest(token="", facts=FACTS, csr=keys.request(folder or self.folder), claims=claims)
        return await self.enrolment.renew(agent_id, request)

    async def takes(self, response: EnrollResponse) -> bool:
        """Whether both of them are good; the credential and the certificate never differ in that."""
        taken = []
        for shown in ((response.credential, b""), ("", response.certificate)):
            try:
                taken.append(await self.authority.authenticate(*shown) == response.agent_id)
            except UnauthenticatedError:
                taken.append(False)
        assert len(set(taken)) == 1
        return taken[0]


@pytest.fixture
async def renewals(rules: Rules, tmp_path: Path) -> Renewals:
    renewals = Renewals(rules, tmp_path)
    await renewals.ca.start()
    return renewals


async def test_both_are_good_until_the_newer_one_is_kept_and_then_it_alone(renewals: Renewals) -> None:
    old = await renewals.enroll()
    new = await renewals.ask("begin", old.agent_id, old.credential)
    for _ in range(2):  # before and after the view knows
        assert [await renewals.takes(old), await renewals.takes(new)] == [True, True]
        await renewals.rules.follow()
    for _ in range(2):  # an answer that was lost is asked for again
        await renewals.ask("commit", old.agent_id, new.credential)
        await renewals.rules.follow()
        assert [await renewals.takes(old), await renewals.takes(new)] == [False, True]
    kinds = [event.kind for event in await renewals.rules.events()]
    assert kinds.count("agent.renewed") == 1


async def test_a_renewal_that_was_begun_again_ends_the_one_that_was_never_kept(renewals: Renewals) -> None:
    old = await renewals.enroll()
    lost = await renewals.ask("begin", old.agent_id, old.credential)
    new = await renewals.ask("begin", old.agent_id, old.credential)
    assert [await renewals.takes(each) for each in (old, lost, new)] == [True, False, True]
    with pytest.raises(UnauthenticatedError, match="was not given this credential; it goes on with the one it has"):
        await renewals.ask("commit", old.agent_id, lost.credential)


async def test_a_renewal_is_for_the_agent_that_has_the_key_and_is_not_revoked(
    renewals: Renewals, tmp_path: Path
) -> None:
    old = await renewals.enroll()
    (tmp_path / "other").mkdir()
    with pytest.raises(UnauthenticatedError, match="enrolled with another key"):
        await renewals.ask("begin", old.agent_id, old.credential, folder=tmp_path / "other")
    with pytest.raises(UnauthenticatedError, match="is not known here"):
        await renewals.ask("begin", "a-none", old.credential)
    with pytest.raises(InvalidError, match="begins"):
        await renewals.ask("neither", old.agent_id, old.credential)
    await renewals.rules.fleet.agents.revoke(api.RevokeAgentRequest(agent=old.agent_id), author="ann")
    with pytest.raises(ForbiddenError, match="was revoked"):
        await renewals.ask("begin", old.agent_id, old.credential)


async def test_a_renewal_by_a_copied_credential_is_refused_and_one_over_the_agents_session_is_not(
    start: Start, tmp_path: Path
) -> None:
    async with start() as plane:
        door = plane.running.ready.channel
        request = EnrollRequest(token=await plane.token(), facts=FACTS, csr=keys.request(tmp_path))
        old = await enroll(door, request)
        claims = {"renew": "begin", "credential": old.credential}
        renewal = replace(request, token="", claims=claims)
        with pytest.raises(UnauthenticatedError):
            await enroll(door, renewal)
        identity = Identity(agent_id=old.agent_id, credential=old.credential, sign=partial(keys.sign, tmp_path))
        async with FakeAgent(door, identity=identity, facts=FACTS) as agent:
            await agent.until(lambda a: a.completed == 1)
            new = await agent.channel.enroll(renewal)
            agent._identity = replace(identity, credential=new.credential)
            agent.channel.move()
            await agent.until(lambda a: a.completed == 2)  # the second connection, by the next credential
            await agent.channel.enroll(replace(renewal, claims={"renew": "commit", "credential": new.credential}))
            assert (await plane.events("agent.renewed"))[0].agent_id == old.agent_id
            assert agent.state.connected
        stale = replace(identity, credential=old.credential)
        async with FakeAgent(door, identity=stale, facts=FACTS) as copy:
            await copy.until(lambda a: "has no such credential here" in a.state.error)
