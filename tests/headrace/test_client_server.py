"""Agents and a control plane over real sockets, through a line that breaks, stalls and heals."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest

from headrace import codec
from headrace.client import ChannelState, Identity, enroll, uplink
from headrace.content import Content, canonical, sha256_of
from headrace.errors import (
    ConflictError,
    ForbiddenError,
    InvalidError,
    NotFoundError,
    UnauthenticatedError,
    UnavailableError,
)
from headrace.limits import Limits
from headrace.messages import Answer, Command, Complete, Desired, EnrollRequest, Remove, Welcome
from headrace.server import channel as server_channel
from headrace.testing import FakeAgent, FakeControlPlane, SeverableProxy
from headrace.types import CloseReason, CommandKind, Engine, Facts, Observed


def content(text: str = "pipeline: {}") -> Content:
    return Content(engine=Engine.EMBEDDED, config=text)


@pytest.fixture
async def plane() -> AsyncIterator[FakeControlPlane]:
    async with FakeControlPlane() as plane:
        yield plane


@pytest.fixture
async def proxy(plane: FakeControlPlane) -> AsyncIterator[SeverableProxy]:
    async with SeverableProxy(plane.address) as proxy:
        yield proxy


@pytest.fixture
async def agent(plane: FakeControlPlane, proxy: SeverableProxy) -> AsyncIterator[FakeAgent]:
    async with FakeAgent(proxy.address) as agent:
        await agent.until(lambda agent: agent.completed == 1)
        yield agent


# What is desired and observed.


async def test_what_is_desired_runs_and_what_runs_is_observed(plane: FakeControlPlane, agent: FakeAgent) -> None:
    generation = plane.desire("edge", content("one"))
    observed = await plane.until(lambda observed: "edge" in observed)
    assert observed["edge"].good == generation
    assert agent.contents["edge"] == canonical(content("one"))


async def test_an_agent_that_comes_later_gets_what_was_desired_before(plane: FakeControlPlane) -> None:
    plane.desire("edge", content())
    plane.set_variables({"REGION": "eu"}, labels={"role": "edge"})
    async with FakeAgent(plane.address) as agent:
        await plane.until(lambda observed: "edge" in observed)
        await agent.until(lambda agent: agent.completed == 1)
        assert agent.variables.values == {"REGION": "eu"}
        assert agent.variables.labels == {"role": "edge"}


async def test_a_burst_of_changes_ends_on_the_last_and_sends_few(plane: FakeControlPlane, agent: FakeAgent) -> None:
    for number in range(50):
        last = plane.desire("edge", content(f"change {number}"))
    await plane.until(lambda observed: "edge" in observed and observed["edge"].good == last)
    generations = [message.generation for message in agent.history]
    assert generations == sorted(generations)
    assert generations[-1] == last
    assert len(generations) < 50


async def test_a_removal_ends_a_pipeline_and_is_reported(plane: FakeControlPlane, agent: FakeAgent) -> None:
    plane.desire("edge", content())
    await plane.until(lambda observed: "edge" in observed)
    generation = plane.remove("edge", purge=True)
    await plane.until(lambda observed: not observed)
    assert agent.history[-1] == Remove(pipeline="edge", generation=generation, purge=True)


async def test_a_large_content_is_fetched_as_a_blob(plane: FakeControlPlane, agent: FakeAgent) -> None:
    text = "".join(sha256_of(str(number).encode()) for number in range(12_000))  # does not deflate to a quarter
    plane.desire("edge", content(text))
    await plane.until(lambda observed: "edge" in observed)
    (desired,) = agent.history
    assert isinstance(desired, Desired)
    assert desired.payload == b""
    assert agent.contents["edge"] == canonical(content(text))


async def test_a_blob_that_is_not_desired_is_not_found(plane: FakeControlPlane, agent: FakeAgent) -> None:
    with pytest.raises(NotFoundError, match=r"no desired pipeline of agent 'a-1' names it"):
        await agent.channel.get_blob("0" * 64)


async def test_a_blob_that_was_asked_for_is_put(plane: FakeControlPlane, agent: FakeAgent) -> None:
    data = bytes(range(256)) * 4096
    await agent.channel.put_blob(sha256_of(data), data)
    assert plane.blobs == {sha256_of(data): data}


async def test_changed_facts_are_sent(plane: FakeControlPlane, agent: FakeAgent) -> None:
    agent.set_facts(Facts(name="renamed", version="1"))
    await plane.until(lambda _: plane.agents["a-1"].name == "renamed")


# Sessions that end.


async def test_a_clean_resume_is_small_and_sends_no_configuration(
    plane: FakeControlPlane, proxy: SeverableProxy, agent: FakeAgent
) -> None:
    plane.desire("edge", content("x" * 5000))
    await plane.until(lambda observed: "edge" in observed)
    proxy.sever()
    await agent.until(lambda agent: not agent.state.connected)
    proxy.mend()
    await agent.until(lambda agent: agent.completed == 2)
    assert len(agent.history) == 1
    hello = plane.sessions[-1]
    welcome = Welcome(session_id="0" * 16, instance_id=plane.instance_id, epoch=plane.epoch)
    complete = Complete(fleet_revision=plane.generation)
    size = len(codec.encode_agent(hello)) + len(codec.encode_server(welcome)) + len(codec.encode_server(complete))
    assert size < 300


async def test_what_changed_during_a_cut_arrives_after_it(
    plane: FakeControlPlane, proxy: SeverableProxy, agent: FakeAgent
) -> None:
    proxy.sever()
    await plane.until_closed()
    generation = plane.desire("edge", content())
    agent.report(Observed(pipeline="own", desired=0, notes=("found on disk",)))
    proxy.mend()
    observed = await plane.until(lambda observed: set(observed) == {"edge", "own"})
    assert observed["edge"].good == generation


async def test_a_stalled_line_is_noticed_at_both_ends_and_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_channel, "_INSPECT_S", 0.02)
    async with FakeControlPlane(heartbeat_ms=60) as plane, SeverableProxy(plane.address) as proxy:
        async with FakeAgent(proxy.address) as agent:
            await agent.until(lambda agent: agent.completed == 1)
            proxy.stall()
            await agent.until(lambda agent: not agent.state.connected)
            assert "half open" in agent.state.error
            await plane.until_closed()
            assert plane.farewells[0].startswith("lost: nothing heard for")
            proxy.mend()
            await agent.until(lambda agent: agent.completed == 2)


async def test_an_idle_session_lives_on_by_heartbeats(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_channel, "_INSPECT_S", 0.02)
    async with FakeControlPlane(heartbeat_ms=50) as plane, FakeAgent(plane.address) as agent:
        await agent.until(lambda agent: agent.completed == 1)
        (link,) = plane.links
        first = link.last_heard
        async with asyncio.timeout(10):
            # Twenty heartbeats, which is four times the silence that would end the session.
            while link.last_heard < first + 1.0:  # noqa: ASYNC110 - heartbeats wake nobody, by design
                await asyncio.sleep(0.05)
        assert plane.farewells == []
        assert agent.state.connected


async def test_an_orderly_stop_says_goodbye(plane: FakeControlPlane) -> None:
    async with FakeAgent(plane.address) as agent:
        await agent.until(lambda agent: agent.completed == 1)
    await plane.until_closed()
    assert plane.farewells == ["goodbye: the agent stops"]


async def test_a_stop_during_a_failing_connection_is_quick_and_clean() -> None:
    async with FakeControlPlane() as plane, SeverableProxy(plane.address) as proxy, FakeAgent(proxy.address) as agent:
        proxy.sever()
        await agent.until(lambda agent: agent.state.error != "")


async def test_a_move_opens_the_new_session_before_the_old_is_left(plane: FakeControlPlane, agent: FakeAgent) -> None:
    states: list[ChannelState] = []
    agent.channel._on_state = states.append
    plane.desire("edge", content())
    await plane.until(lambda observed: "edge" in observed)
    plane.ask_to_move(window_ms=50)
    await plane.until_closed()
    await agent.until(lambda agent: agent.completed == 2)
    assert plane.farewells == ["closed: superseded"]
    assert [hello.session_number for hello in plane.sessions] == [1, 2]
    assert all(state.connected for state in states)
    assert len(agent.history) == 1


async def test_agents_move_to_another_server_when_theirs_drains(
    plane: FakeControlPlane, proxy: SeverableProxy, agent: FakeAgent
) -> None:
    async with FakeControlPlane(instance_id=plane.instance_id) as successor:
        successor._agents = plane._agents  # two replicas over one store
        proxy.retarget(successor.address)
        await plane.drain(window_ms=2_000)
        assert plane.farewells != []
        await agent.until(lambda agent: agent.completed == 2)
        assert successor.sessions[0].session_number == 2


async def test_an_agent_that_is_revoked_while_it_moves_is_told(plane: FakeControlPlane, agent: FakeAgent) -> None:
    authenticate = plane.authenticate

    async def revoke_first(credential: str, peer: str, certificate: bytes = b"") -> str:
        plane.revoke()
        await plane.until_closed()
        return await authenticate(credential, peer, certificate)

    plane.authenticate = revoke_first  # type: ignore[method-assign] # it happens between the two sessions
    plane.ask_to_move()
    await agent.until(lambda agent: len(agent.refusals) == 1)
    assert not agent.state.connected


async def test_an_agent_with_nowhere_to_go_stays_through_a_drain(plane: FakeControlPlane, agent: FakeAgent) -> None:
    await plane.drain(window_ms=300)
    assert plane.farewells == []
    assert agent.state.connected
    generation = plane.desire("edge", content())
    await plane.until(lambda observed: "edge" in observed and observed["edge"].good == generation)


async def test_a_session_is_renewed_before_it_has_sent_too_much(
    monkeypatch: pytest.MonkeyPatch, plane: FakeControlPlane
) -> None:
    monkeypatch.setattr(uplink, "_STREAM_BYTES", 4000)
    async with FakeAgent(plane.address) as agent:
        await agent.until(lambda agent: agent.completed == 1)
        agent.report(Observed(pipeline="edge", desired=0, notes=("n" * 5000,)))
        await agent.until(lambda agent: agent.completed == 2)
        await plane.until_closed()
        assert plane.farewells == ["closed: superseded"]


async def test_an_overloaded_server_is_given_the_time_it_asks_for(plane: FakeControlPlane, agent: FakeAgent) -> None:
    plane.close_session(CloseReason.OVERLOADED, retry_after_ms=700)
    await agent.until(lambda agent: agent.state.retry_in_s >= 0.7)
    await agent.until(lambda agent: agent.completed == 2)


async def test_a_handler_that_fails_costs_a_session_and_not_the_channel(plane: FakeControlPlane) -> None:
    failures = iter([RuntimeError("disk full")])

    class Failing(FakeAgent):
        async def on_desired(self, desired: Desired) -> None:
            for failure in failures:
                raise failure
            await super().on_desired(desired)

    plane.desire("edge", content())
    async with Failing(plane.address):
        await plane.until(lambda observed: "edge" in observed)
        assert len(plane.sessions) == 2


# Who an agent is.


async def test_a_wrong_token_enrols_nobody(plane: FakeControlPlane) -> None:
    with pytest.raises(UnauthenticatedError, match="bootstrap token is not known"):
        await enroll(plane.address, EnrollRequest(token="wrong", facts=Facts(name="a")))
    assert plane.agents == {}


async def test_enrolling_where_nobody_listens_names_the_address() -> None:
    async with SeverableProxy("127.0.0.1:1") as proxy:
        proxy.sever()
        with pytest.raises(UnavailableError, match=f"cannot reach the control plane at {proxy.address}"):
            await enroll(proxy.address, EnrollRequest(token="t", facts=Facts(name="a")))


async def test_plain_text_off_loopback_is_refused_and_names_the_flag() -> None:
    with pytest.raises(InvalidError, match="--channel-insecure"):
        await enroll("192.0.2.1:8402", EnrollRequest(token="t", facts=Facts(name="a")))


async def test_a_revoked_agent_is_told_and_waits(plane: FakeControlPlane, agent: FakeAgent) -> None:
    plane.revoke()
    await agent.until(lambda agent: len(agent.refusals) == 1)
    assert isinstance(agent.refusals[0], ForbiddenError)
    assert not agent.state.connected


@pytest.mark.parametrize("credential", ["stale", "no heäder can carry it"])
async def test_a_credential_that_is_not_good_is_refused_and_a_new_identity_is_tried_at_once(
    plane: FakeControlPlane, credential: str
) -> None:
    class Reenrolling(FakeAgent):
        async def on_refused(self, error: Exception) -> bool:
            await super().on_refused(error)
            response = await enroll(self._target, EnrollRequest(token="token", facts=self.facts()))
            self._identity = Identity(agent_id=response.agent_id, credential=response.credential)
            return True

    async with Reenrolling(plane.address, identity=Identity(agent_id="a-9", credential=credential)) as agent:
        await agent.until(lambda agent: agent.completed == 1)
        assert isinstance(agent.refusals[0], UnauthenticatedError)
        assert agent.agent_id == "a-1"


async def test_a_renewal_of_the_identity_that_fails_is_tried_again(plane: FakeControlPlane) -> None:
    failures: list[Exception] = [UnavailableError("the token file is on a disk that is away"), RuntimeError("a defect")]

    class Unlucky(FakeAgent):
        async def on_refused(self, error: Exception) -> bool:
            await super().on_refused(error)
            if failures:
                raise failures.pop()
            self._identity = Identity(agent_id="a-1", credential="credential of a-1")
            return True

    await enroll(plane.address, EnrollRequest(token="token", facts=Facts(name="a")))
    async with Unlucky(plane.address, identity=Identity(agent_id="a-1", credential="stale")) as agent:
        await agent.until(lambda agent: agent.completed == 1)
        assert len(agent.refusals) == 3


async def test_of_two_processes_with_one_identity_the_newer_stays_and_the_older_is_refused(
    plane: FakeControlPlane, agent: FakeAgent
) -> None:
    async with FakeAgent(plane.address, identity=agent.identity(), boot_id="newer") as newer:
        await newer.until(lambda newer: newer.completed == 1)
        await agent.until(lambda agent: len(agent.refusals) == 1)
        assert isinstance(agent.refusals[0], ConflictError)
        assert newer.state.connected


async def test_an_agent_that_restarts_takes_its_session_over_without_a_word(
    plane: FakeControlPlane, agent: FakeAgent
) -> None:
    identity = agent.identity()
    async with FakeAgent(plane.address, identity=identity) as restarted:
        await restarted.until(lambda restarted: restarted.completed == 1)
        assert plane.farewells == ["closed: superseded"]
        assert restarted.refusals == []


# Planes that were restored, or are new.


async def test_what_an_empty_plane_does_not_know_runs_on(
    plane: FakeControlPlane, proxy: SeverableProxy, agent: FakeAgent
) -> None:
    plane.desire("edge", content())
    await plane.until(lambda observed: "edge" in observed)
    async with FakeControlPlane(instance_id="i-2") as empty:
        empty._agents = {id: type(known)(id, known.credential, known.facts) for id, known in plane._agents.items()}
        proxy.retarget(empty.address)
        proxy.sever()
        await agent.until(lambda agent: not agent.state.connected)
        proxy.mend()
        await empty.until(lambda observed: "edge" in observed)
        await agent.until(lambda agent: agent.completed == 2)
        assert "edge" in agent.observed()
        assert agent.plane().instance_id == "i-2"


async def test_a_plane_that_was_set_back_stamps_above_what_agents_have_seen(
    plane: FakeControlPlane, proxy: SeverableProxy, agent: FakeAgent
) -> None:
    for number in range(5):
        plane.desire("edge", content(f"change {number}"))
    await plane.until(lambda observed: "edge" in observed and observed["edge"].good == 5)
    async with FakeControlPlane(epoch=2) as restored:
        restored._agents = {id: type(known)(id, known.credential, known.facts) for id, known in plane._agents.items()}
        restored.desire("edge", content("of the backup"))
        proxy.retarget(restored.address)
        proxy.sever()
        await agent.until(lambda agent: not agent.state.connected)
        proxy.mend()
        observed = await restored.until(lambda observed: "edge" in observed and observed["edge"].good == 6)
        assert observed["edge"].desired == 6
        assert restored.epoch == 3
        assert agent.contents["edge"] == canonical(content("of the backup"))


async def test_a_stale_message_never_reaches_the_handler(plane: FakeControlPlane, agent: FakeAgent) -> None:
    plane.desire("edge", content(), generation=7)
    await plane.until(lambda observed: "edge" in observed)
    plane.send(Remove(pipeline="edge", generation=6))
    plane.send(Complete(fleet_revision=7))
    await agent.until(lambda agent: agent.completed == 2)
    assert [type(message) for message in agent.history] == [Desired]


# Commands.


async def test_a_command_is_answered(plane: FakeControlPlane) -> None:
    def answer(command: Command) -> Answer:
        return Answer(command_id=command.id, ok=True, output=f"{command.lines} lines".encode())

    async with FakeAgent(plane.address, answer=answer):
        await plane.until_connected()
        answered = await plane.command(Command(id="c", kind=CommandKind.LOGS, pipeline="edge", lines=3))
        assert answered == Answer(command_id="c", ok=True, output=b"3 lines")


async def test_a_command_that_is_sent_twice_runs_once(plane: FakeControlPlane, agent: FakeAgent) -> None:
    for _ in range(2):
        await plane.command(Command(id="c", kind=CommandKind.RESTART, pipeline="edge"))
    await plane.command(Command(id="d", kind=CommandKind.RESTART, pipeline="edge"))
    assert [command.id for command in agent.commands] == ["c", "d"]


async def test_a_command_that_fails_says_why(plane: FakeControlPlane) -> None:
    def answer(command: Command) -> Answer:
        raise NotFoundError(f"pipeline {command.pipeline!r} does not run here")

    async with FakeAgent(plane.address, answer=answer):
        await plane.until_connected()
        answered = await plane.command(Command(id="c", kind=CommandKind.RESTART, pipeline="edge"))
        assert answered == Answer(command_id="c", ok=False, message="pipeline 'edge' does not run here")


async def test_a_command_that_comes_after_its_deadline_is_not_run(plane: FakeControlPlane, agent: FakeAgent) -> None:
    late = datetime.now(UTC) - timedelta(seconds=1)
    answered = await plane.command(Command(id="c", kind=CommandKind.RESTART, deadline=late))
    assert not answered.ok
    assert "deadline" in answered.message
    assert agent.commands == []


async def test_a_hundred_agents_come_at_once_and_all_get_in() -> None:
    async with FakeControlPlane(limits=Limits(handshakes=10)) as plane:
        plane.desire("edge", content())
        agents = [FakeAgent(plane.address) for _ in range(100)]
        await asyncio.gather(*(agent.__aenter__() for agent in agents))
        await plane.until_connected(count=100, timeout=30)
        for agent in agents:
            await plane.until(lambda observed: "edge" in observed, agent_id=agent.agent_id, timeout=30)
        await asyncio.gather(*(agent.__aexit__(None, None, None) for agent in agents))
