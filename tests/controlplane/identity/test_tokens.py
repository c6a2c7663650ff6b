"""What tokens refuse and whom they let in, on real stores; two agents that race for one use."""

from __future__ import annotations

import asyncio
import re

import pytest

from controlplane.identity.secret import Secret
from headrace import api
from headrace.client import enroll
from headrace.errors import ForbiddenError, UnauthenticatedError
from headrace.messages import EnrollRequest, EnrollResponse
from headrace.types import AgentState, Facts
from tests.controlplane.conftest import Rules, Start
from tests.processes import eventually

_RACES = 8


async def use(rules: Rules, secret: str, name: str = "a", *, peer: str = "ipv4:10.1.2.3:7", **labels: str) -> str:
    """The id of an agent that enrols."""
    request = EnrollRequest(token=secret, facts=Facts(name=name, labels=labels))
    return (await rules.enrolment.enroll(request, peer=peer)).agent_id


async def token(rules: Rules, **more: object) -> api.CreateTokenResponse:
    return await rules.tokens.create(api.CreateTokenRequest(**more), author="ann")  # type: ignore[arg-type]


async def test_each_refusal_names_its_reason_in_its_message_and_in_its_event(rules: Rules) -> None:
    used, expired, revoked = await token(rules), await token(rules, ttl_seconds=5), await token(rules)
    bound = await token(rules, scope="role=edge", networks=("10.0.0.0/8",))
    await use(rules, used.secret)
    await rules.tokens.revoke(revoked.token.id, author="ann")
    rules.clock.advance(10)
    wrong_half = re.sub(r"\..*", ".wrong", bound.secret)
    refusals: list[str] = []
    for reason, kind, secret, peer, labels in (
        ("used up", UnauthenticatedError, used.secret, "ipv4:10.0.0.1:1", {}),
        ("expired", UnauthenticatedError, expired.secret, "ipv4:10.0.0.1:1", {}),
        ("revoked", UnauthenticatedError, revoked.secret, "ipv4:10.0.0.1:1", {}),
        ("unknown", UnauthenticatedError, "hrb_t-none.secret", "ipv4:10.0.0.1:1", {}),
        ("unknown", UnauthenticatedError, wrong_half, "ipv4:10.0.0.1:1", {}),
        ("wrong scope", ForbiddenError, bound.secret, "ipv4:10.0.0.1:1", {"role": "db"}),
        ("wrong scope", ForbiddenError, bound.secret, "ipv4:11.0.0.1:1", {"role": "edge"}),
    ):
        with pytest.raises(kind, match=f"^{reason}: ") as caught:
            await use(rules, secret, "evil", peer=peer, **labels)
        last = (await rules.events())[-1]
        assert last.kind == "agent.refused"
        assert last.message.startswith(f"evil at {peer}: {reason}: ")
        assert secret.partition(".")[2] not in last.message + caught.value.message
        refusals.append(caught.value.message)
    assert len(set(refusals)) == 6  # the two that are unknown read the same
    await rules.follow()
    assert len(rules.view.agents) == 1


async def test_a_token_with_a_scope_is_good_within_it_and_every_use_is_an_event(rules: Rules) -> None:
    made = await token(rules, scope="role=edge", networks=("10.0.0.0/8",), max_uses=2)
    agent_id = await use(rules, made.secret, "edge-1", role="edge")
    last = (await rules.events())[-1]
    assert (last.kind, last.agent_id) == ("agent.enrolled", agent_id)
    assert f"edge-1 from 10.1.2.3 with token {made.token.id}, use 1 of 2" in last.message


async def test_so_many_agents_of_a_token_may_be_there_at_one_time(rules: Rules) -> None:
    made = await token(rules, max_agents=2)
    assert (made.token.max_uses, made.token.max_agents) == (0, 2)
    first, _ = await use(rules, made.secret, "a"), await use(rules, made.secret, "b")
    with pytest.raises(UnauthenticatedError, match=r"full: .* is good for 2 agents at one time, and 2 of it are here"):
        await use(rules, made.secret, "c")
    await rules.fleet.agents.revoke(api.RevokeAgentRequest(agent=first), author="ann")
    assert await use(rules, made.secret, "c")


async def test_an_agent_that_is_there_already_needs_no_further_place(rules: Rules) -> None:
    made = await token(rules, max_agents=1)
    first = await rules.enrolment.enroll(EnrollRequest(token=made.secret, facts=Facts(name="a")), peer="p")
    claims = {"credential": first.credential}
    again = await rules.enrolment.enroll(
        EnrollRequest(token=made.secret, facts=Facts(name="a"), claims=claims), peer="p"
    )
    assert again.agent_id == first.agent_id


async def test_an_unknown_token_is_compared_like_any_other(rules: Rules, monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[str] = []
    opens = Secret.opens

    def counted(self: Secret, expected_hash: str) -> bool:
        compared.append(self.id)
        return opens(self, expected_hash)

    monkeypatch.setattr(Secret, "opens", counted)
    made = await token(rules)
    for secret in ("hrb_t-none.secret", re.sub(r"\..*", ".wrong", made.secret)):
        with pytest.raises(UnauthenticatedError, match="unknown"):
            await use(rules, secret)
    assert compared == ["t-none", made.token.id]


async def test_two_agents_race_for_a_token_of_one_use_on_sqlite_and_one_wins(start: Start) -> None:
    async with start() as plane:
        for _ in range(_RACES):
            made = await plane.client.create_token(ttl_seconds=60)
            await _race(made.secret, plane.running.ready.channel, plane.running.ready.channel)
        assert [token.uses for token in await plane.client.list_tokens()] == [1] * _RACES
        assert len(await plane.client.list_agents()) == _RACES


async def test_two_agents_race_for_a_token_of_one_use_through_two_control_planes_and_one_wins(
    start: Start, postgres_url: str
) -> None:
    async with start(data="one", state=postgres_url) as one, start(data="two", state=postgres_url) as two:
        for _ in range(_RACES):
            made = await one.client.create_token(ttl_seconds=60)
            await _race(made.secret, one.running.ready.channel, two.running.ready.channel)
        assert [token.uses for token in await two.client.list_tokens()] == [1] * _RACES
        assert len(await one.client.list_agents()) == _RACES


async def _race(secret: str, *doors: str) -> None:
    """One agent at each door with the same token, together; exactly one gets in, the other is told why not."""
    request = EnrollRequest(token=secret, facts=Facts(name="racer", version="0"))
    ends = await asyncio.gather(*(enroll(door, request) for door in doors), return_exceptions=True)
    (won,) = [end for end in ends if isinstance(end, EnrollResponse)]
    (lost,) = [end for end in ends if not isinstance(end, EnrollResponse)]
    assert won.agent_id
    assert isinstance(lost, UnauthenticatedError)
    assert lost.message.startswith("used up: ")


async def test_an_agent_that_claims_more_once_it_is_in_is_shown_the_door(start: Start) -> None:
    async with start() as plane:
        made = await plane.client.create_token(ttl_seconds=60, scope="role=edge", labels={"site": "eu"})
        async with await plane.agent(made.secret, labels={"role": "edge"}) as agent:
            await agent.until(lambda a: a.completed > 0)
            agent.set_facts(Facts(name="fake", version="0", labels={"role": "db"}))
            await agent.until(lambda a: not a.state.connected and "wrong scope" in a.state.error)

            async def refused() -> bool:
                return any("claims label role=db" in event.message for event in await plane.events("agent.refused"))

            await eventually(refused)
            shown = await plane.client.get_agent(agent.agent_id)
            assert (shown.labels, shown.state) == ({"role": "edge", "site": "eu"}, AgentState.CONNECTED)
