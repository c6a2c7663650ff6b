"""Tokens, enrolment and credentials, on a real store."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from controlplane.identity.secret import Kind, mint, take_apart
from controlplane.identity.throttle import FAILURES
from controlplane.model import AgentRow, TokenRow
from headrace import api
from headrace.errors import ForbiddenError, InvalidError, NotFoundError, OverloadedError, UnauthenticatedError
from headrace.messages import EnrollRequest, EnrollResponse
from headrace.types import AgentState, Engine, EngineInfo, Facts
from tests.controlplane.conftest import Rules


async def token(rules: Rules, **more: object) -> api.CreateTokenResponse:
    return await rules.tokens.create(api.CreateTokenRequest(**more), author="ann")  # type: ignore[arg-type]


async def enroll(rules: Rules, secret: str, facts: Facts | None = None, **claims: str) -> EnrollResponse:
    request = EnrollRequest(token=secret, facts=facts or Facts(name="a"), claims=claims)
    return await rules.enrolment.enroll(request, peer="ipv4:127.0.0.1:1")


def test_a_secret_never_shows_itself_and_opens_only_its_own_hash() -> None:
    text, kept = mint(Kind.AGENT, "a-1")
    secret = take_apart(text, Kind.AGENT)
    assert secret.id == "a-1"
    assert secret.opens(kept)
    assert not secret.opens("0" * 64)
    assert text.partition(".")[2] not in repr(secret) + kept


@pytest.mark.parametrize(
    "text", ["", "hra_", "hra_a", "hra_a.", "hra_.s", "hrb_a.s", "x", "hra.a_s", "\udc80_a.b", "hra_\0.s"]
)
def test_what_is_no_credential_is_said_to_be_none(text: str) -> None:
    with pytest.raises(UnauthenticatedError, match="that is not an agent's credential"):
        take_apart(text, Kind.AGENT)


async def test_an_agent_gets_an_id_and_a_credential_that_is_good_at_once(rules: Rules) -> None:
    made = await token(rules, labels={"site": "eu"})
    response = await enroll(rules, made.secret, Facts(name="edge-1", labels={"site": "us", "role": "edge"}))
    assert await rules.authority.authenticate(response.credential) == response.agent_id
    await rules.follow()
    agent = rules.view.agents[response.agent_id]
    assert agent.row.state is AgentState.PENDING
    assert agent.labels == {"site": "eu", "role": "edge"}
    assert response.instance_id == rules.view.plane.instance_id


async def test_neither_tokens_nor_credentials_are_stored(rules: Rules) -> None:
    made = await token(rules)
    response = await enroll(rules, made.secret)
    pieces = b"".join([piece async for piece in rules.store.dump()])
    for secret in (made.secret, response.credential):
        assert secret.encode() not in pieces
        assert secret.partition(".")[2].encode() not in pieces


async def test_a_token_is_good_for_its_uses_only(rules: Rules) -> None:
    made = await token(rules, max_uses=2)
    await enroll(rules, made.secret)
    await enroll(rules, made.secret)
    with pytest.raises(UnauthenticatedError, match="has been used 2 times"):
        await enroll(rules, made.secret)


async def test_a_token_expires(rules: Rules) -> None:
    made = await token(rules, ttl_seconds=60)
    rules.clock.advance(60)
    with pytest.raises(UnauthenticatedError, match="expired at"):
        await enroll(rules, made.secret)


async def test_a_revoked_token_enrols_nobody_and_its_agents_stay(rules: Rules) -> None:
    made = await token(rules, max_uses=2)
    response = await enroll(rules, made.secret)
    await rules.tokens.revoke(made.token.id, author="ann")
    with pytest.raises(UnauthenticatedError, match="was revoked"):
        await enroll(rules, made.secret)
    assert await rules.authority.authenticate(response.credential) == response.agent_id
    with pytest.raises(NotFoundError):
        await rules.tokens.revoke("t-none", author="ann")


async def test_tokens_are_listed_with_their_uses_and_without_their_secrets(rules: Rules) -> None:
    made = await token(rules, max_uses=3, description="for ci")
    await enroll(rules, made.secret)
    (shown,) = await rules.tokens.list()
    assert (shown.id, shown.uses, shown.max_uses, shown.author, shown.description) == (
        made.token.id,
        1,
        3,
        "ann",
        "for ci",
    )


async def test_a_refused_enrolment_makes_no_agent_and_is_an_event(rules: Rules) -> None:
    made = await token(rules)
    wrong = re.sub(r"\..*", ".wrong", made.secret)
    with pytest.raises(UnauthenticatedError, match="not known here"):
        await enroll(rules, wrong)
    async with rules.store.read() as reader:
        assert await reader.find(AgentRow) == []
        assert [row.uses for row in await reader.find(TokenRow)] == [0]
    last = (await rules.events())[-1]
    assert (last.kind, last.agent_id) == ("agent.refused", "")
    assert "ipv4:127.0.0.1:1" in last.message


async def test_a_flood_of_refusals_writes_few_events(rules: Rules) -> None:
    for _ in range(FAILURES):
        with pytest.raises(UnauthenticatedError):
            await enroll(rules, "hrb_x.y")
    for _ in range(50):
        with pytest.raises(OverloadedError, match=r"too many enrolments from .* failed; .* looked at in 60 s"):
            await enroll(rules, "hrb_x.y")
    events = [event for event in await rules.events() if event.kind == "agent.refused"]
    assert len(events) == FAILURES
    assert "further refusals of this source are not recorded for a minute" in events[-1].message
    rules.clock.advance(60)
    with pytest.raises(UnauthenticatedError):
        await enroll(rules, "hrb_x.y")
    assert len([event for event in await rules.events() if event.kind == "agent.refused"]) == FAILURES + 1


async def test_a_flood_locks_out_neither_another_source_nor_a_good_token_of_the_same(rules: Rules) -> None:
    for _ in range(FAILURES + 1):
        with pytest.raises((UnauthenticatedError, OverloadedError)):
            await enroll(rules, "hrb_x.y")
    with pytest.raises(UnauthenticatedError):  # another source still gets its own answer, and its own event
        await rules.enrolment.enroll(EnrollRequest(token="hrb_x.y", facts=Facts(name="b")), peer="ipv4:10.0.0.9:1")
    assert "b at ipv4:10.0.0.9:1: unknown" in (await rules.events())[-1].message
    made = await token(rules)
    assert (await enroll(rules, made.secret)).agent_id


@pytest.mark.parametrize(
    "facts",
    [
        Facts(name=""),
        Facts(name="x" * 254),
        Facts(name="a b"),
        Facts(name="a\nb"),
        Facts(name="a", labels={"k k": "v"}),
        Facts(name="a", labels={f"k{number}": "v" for number in range(65)}),
        Facts(name="a", version="x" * 201),
        Facts(name="a", os="Linux\n"),
        Facts(name="a", capabilities=("x",) * 65),
        Facts(name="a", engines=(EngineInfo(engine=Engine.EMBEDDED),) * 17),
        Facts(name="a", engines=(EngineInfo(engine=Engine.EMBEDDED, version="\0"),)),
    ],
)
async def test_facts_that_nobody_could_select_or_show_are_refused(rules: Rules, facts: Facts) -> None:
    made = await token(rules)
    with pytest.raises(InvalidError):
        await enroll(rules, made.secret, facts)


async def test_an_agent_that_shows_its_credential_keeps_its_id_and_the_credential_ends(rules: Rules) -> None:
    made = await token(rules, max_uses=2)
    first = await enroll(rules, made.secret)
    again = await enroll(rules, made.secret, credential=first.credential)
    assert again.agent_id == first.agent_id
    assert await rules.authority.authenticate(again.credential) == first.agent_id
    with pytest.raises(UnauthenticatedError):
        await rules.authority.authenticate(first.credential)


async def test_a_claim_that_proves_nothing_gets_a_new_id(rules: Rules) -> None:
    made = await token(rules, max_uses=2)
    first = await enroll(rules, made.secret)
    forged = first.credential.partition(".")[0] + ".forged"
    other = await enroll(rules, made.secret, agent_id=first.agent_id, credential=forged)
    assert other.agent_id != first.agent_id


async def test_a_revoked_agent_is_forbidden_whatever_the_view_says(rules: Rules) -> None:
    response = await rules.enroll()
    await rules.follow()
    async with rules.store.write() as tx:
        row = await tx.get(AgentRow, response.agent_id)
        assert row is not None
        await tx.put(replace(row, state=AgentState.REVOKED))
    await rules.fleet.agents.revoke(api.RevokeAgentRequest(agent=response.agent_id), author="ann")
    await rules.follow()
    with pytest.raises(ForbiddenError, match="was revoked"):
        await rules.authority.authenticate(response.credential)


async def test_a_strangers_credential_does_not_tell_which_agents_exist(rules: Rules) -> None:
    response = await rules.enroll()
    real = response.credential.partition(".")[0] + ".wrong"
    messages = []
    for credential in (real, "hra_a-none.wrong"):
        with pytest.raises(UnauthenticatedError) as caught:
            await rules.authority.authenticate(credential)
        messages.append(re.sub("'.*?'", "", caught.value.message))
    assert messages[0] == messages[1]


async def test_a_token_that_is_only_asked_about_is_not_used_up_and_makes_no_agent(rules: Rules) -> None:
    made = await token(rules, scope="role=edge")
    edge = Facts(name="a", labels={"role": "edge"})
    for _ in range(2):
        assert await enroll(rules, made.secret, edge, enrol="check") == EnrollResponse()
    async with rules.store.read() as reader:
        row = await reader.get(TokenRow, made.token.id)
    assert row is not None
    assert row.uses == 0
    await rules.follow()
    assert not rules.view.agents
    with pytest.raises(ForbiddenError, match="wrong scope"):
        await enroll(rules, made.secret, Facts(name="a", labels={"role": "db"}), enrol="check")
    await enroll(rules, made.secret, edge)
    with pytest.raises(UnauthenticatedError, match="used up"):
        await enroll(rules, made.secret, edge, enrol="check")
    assert [event.kind for event in await rules.events()][-2:] == ["agent.enrolled", "agent.refused"]
