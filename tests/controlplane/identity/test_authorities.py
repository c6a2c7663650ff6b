"""Another authority signs from one commit on; nobody who has a certificate by the one before it is cut off by that."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from agent import keys
from controlplane.app import opened
from controlplane.identity import Authorities, Authority, Enrolment
from controlplane.identity.authority_files import AuthorityFiles, Folder, Given
from controlplane.model import AgentRow
from controlplane.settings import Door
from headrace import api
from headrace.client import Identity, enroll
from headrace.errors import ConflictError, HeadraceError, UnauthenticatedError, UnavailableError
from headrace.messages import EnrollRequest, EnrollResponse
from headrace.security import ClientTls, ServerTls
from headrace.testing import FakeAgent
from headrace.types import AgentState, Facts
from tests.certificates import key_of, make_certificate
from tests.conftest import Clock
from tests.controlplane.conftest import Rules, Start
from tests.processes import eventually

DAY_S = 24 * 3600.0


class Replica:
    """The rules of one control plane, with files of its own."""

    def __init__(self, rules: Rules, files: AuthorityFiles) -> None:
        self.rules = rules
        self.authorities = Authorities(store=rules.store, view=rules.view, files=files, clock=rules.clock.now)
        self.enrolment = Enrolment(store=rules.store, clock=rules.clock.now, authorities=self.authorities)
        self.authority = Authority(store=rules.store, view=rules.view, authorities=self.authorities)

    async def enroll(self, folder: Path) -> EnrollResponse:
        folder.mkdir(exist_ok=True)
        token = await self.rules.tokens.create(api.CreateTokenRequest(), author="ann")
        request = EnrollRequest(token=token.secret, facts=Facts(name=folder.name), csr=keys.request(folder))
        return await self.enrolment.enroll(request, peer="p")

    async def renew(self, old: EnrollResponse, folder: Path) -> EnrollResponse:
        """Both steps."""
        request = EnrollRequest(
            token="", facts=Facts(name=folder.name), csr=keys.request(folder), claims={"renew": "begin"}
        )
        new = await self.enrolment.renew(old.agent_id, request)
        claims = {"renew": "commit", "credential": new.credential}
        await self.enrolment.renew(old.agent_id, replace(request, claims=claims))
        return new

    async def counts(self) -> list[tuple[bool, int]]:
        """Of each that is trusted, whether it signs and how many agents use a certificate by it."""
        return [(one.signs, one.agents) for one in await self.authorities.all()]


@asynccontextmanager
async def rules_over(request: pytest.FixtureRequest, backend: str, clock: Clock, folder: Path) -> AsyncIterator[Rules]:
    url = request.getfixturevalue("postgres_url") if backend == "postgres" else f"sqlite:///{folder / 'rules.db'}"
    async with opened(url) as store:
        rules = Rules(store, clock, folder)
        await rules.follow()
        yield rules


def folder_of(rules: Rules, folder: Path) -> Folder:
    folder.mkdir(exist_ok=True)
    return Folder(folder, lifetime_s=DAY_S, clock=rules.clock.now)


@pytest.fixture
async def replica(rules: Rules, tmp_path: Path) -> Replica:
    replica = Replica(rules, folder_of(rules, tmp_path / "plane"))
    await replica.authorities.start()
    return replica


async def kinds(rules: Rules) -> list[str]:
    return [event.kind for event in await rules.events() if event.kind.startswith("ca.")]


@pytest.mark.parametrize("backend", ["sqlite", "postgres"])
async def test_the_new_one_signs_and_both_are_trusted_until_the_last_agent_has_renewed(
    request: pytest.FixtureRequest, backend: str, clock: Clock, tmp_path: Path
) -> None:
    async with rules_over(request, backend, clock, tmp_path) as rules:
        replica = Replica(rules, folder_of(rules, tmp_path / "plane"))
        await replica.authorities.start()
        first = await replica.enroll(tmp_path / "a-1")
        made = await replica.authorities.rotate(author="ann")
        second = await replica.enroll(tmp_path / "a-2")
        for _ in range(2):  # before and after the view knows
            for each in (first, second):
                assert await replica.authority.authenticate("", each.certificate) == each.agent_id
            await rules.follow()
        assert second.ca_bundle == made.certificate + first.ca_bundle == replica.authorities.bundle()
        assert await replica.counts() == [(True, 1), (False, 1)]
        await replica.authorities.sweep()
        assert len(await replica.authorities.all()) == 2
        await replica.renew(first, tmp_path / "a-1")
        await replica.authorities.sweep()
        assert await replica.counts() == [(True, 2)]
        assert await kinds(rules) == ["ca.rotated", "ca.ended"]
        actors = [event.actor for event in await rules.events() if event.kind == "ca.rotated"]
        assert actors == ["ann"]
        keys_left = sorted(path.stat().st_mode & 0o777 for path in (tmp_path / "plane").glob("ca*.key"))
        assert keys_left == [0o600]  # the key of the one that ended was erased


async def test_an_agent_that_stays_away_ends_the_trust_by_the_time_of_its_certificate(
    replica: Replica, tmp_path: Path
) -> None:
    first = await replica.enroll(tmp_path / "a-1")
    await replica.authorities.rotate(author="ann")
    await replica.rules.follow()
    for seconds, trusted in ((DAY_S - 1, 2), (2, 1)):
        replica.rules.clock.advance(seconds)
        await replica.authorities.sweep()
        assert len(await replica.authorities.all()) == trusted
    await replica.rules.follow()
    with pytest.raises(UnauthenticatedError, match=r"wrong CA: .*enrol the agent anew"):
        await replica.authority.authenticate("", first.certificate)


async def test_finishing_is_refused_with_the_numbers_while_connected_agents_need_the_older_one(
    replica: Replica, tmp_path: Path
) -> None:
    with pytest.raises(ConflictError, match="only one authority is trusted"):
        await replica.authorities.finish(author="ann", force=True)
    agents = [await replica.enroll(tmp_path / name) for name in ("a-1", "a-2", "a-3")]
    async with replica.rules.store.write() as tx:
        for agent in agents[:2]:
            row = await tx.get(AgentRow, agent.agent_id)
            assert row is not None
            await tx.put(replace(row, state=AgentState.CONNECTED))
    await replica.authorities.rotate(author="ann")
    with pytest.raises(ConflictError, match=r"2 connected agents \(a-1, a-2\) and 1 agent that are away"):
        await replica.authorities.finish(author="ann", force=False)
    for agent, name in zip(agents[:2], ("a-1", "a-2"), strict=True):
        await replica.renew(agent, tmp_path / name)
    (ended,) = await replica.authorities.finish(author="ann", force=False)  # the one that is away does not hold it up
    assert (ended.agents, ended.connected) == (1, 0)
    await replica.rules.follow()
    with pytest.raises(UnauthenticatedError, match="wrong CA"):
        await replica.authority.authenticate("", agents[2].certificate)
    assert await replica.authority.authenticate(agents[2].credential) == agents[2].agent_id
    told = [event.message for event in await replica.rules.events() if event.kind == "ca.ended"]
    assert "0 connected and 1 other agents used" in told[0]


async def test_a_rotation_that_was_cut_short_before_its_commit_changes_nothing_and_leaves_no_key(
    replica: Replica, tmp_path: Path
) -> None:
    before = await replica.authorities.all()
    files = replica.authorities._files
    cut = files.fresh({before[0].fingerprint})  # the files are there, and the store knows nothing of them
    again = Replica(replica.rules, files)
    await again.authorities.start()
    assert await again.authorities.all() == before
    made = await again.authorities.rotate(author="ann")
    assert made.fingerprint != cut.fingerprint
    assert files.find(cut.fingerprint) is None
    assert len(list((tmp_path / "plane").glob("ca*.key"))) == 2


async def test_a_control_plane_whose_key_is_lost_begins_anew_and_knows_its_agents_still(
    replica: Replica, tmp_path: Path
) -> None:
    first = await replica.enroll(tmp_path / "a-1")
    shutil.rmtree(tmp_path / "plane")
    again = Replica(replica.rules, folder_of(replica.rules, tmp_path / "plane"))
    await again.authorities.start()
    assert await again.counts() == [(True, 0), (False, 1)]
    assert await again.authority.authenticate("", first.certificate) == first.agent_id
    assert (await again.enroll(tmp_path / "a-2")).certificate


async def test_replicas_with_files_of_an_operator_agree_and_one_without_the_new_key_gives_out_nothing(
    replica: Replica, tmp_path: Path
) -> None:
    rules = replica.rules
    for number in (1, 2):  # the pair at each of two control planes
        shutil.copytree(tmp_path / "plane", tmp_path / f"given-{number}")
    one, two = (
        Replica(rules, Given(tmp_path / f"given-{n}/ca.pem", tmp_path / f"given-{n}/ca.key", lifetime_s=DAY_S))
        for n in (1, 2)
    )
    for each in (one, two):
        await each.authorities.start()
    with pytest.raises(ConflictError, match=r"ca\.pem holds authority .*, which is known here already"):
        await one.authorities.rotate(author="ann")
    first = await two.enroll(tmp_path / "a-1")
    folder_of(rules, tmp_path / "new").first()
    for name in ("ca.pem", "ca.key"):
        shutil.copy(tmp_path / "new" / name, tmp_path / "given-1" / name)
    await one.authorities.rotate(author="ann")
    with pytest.raises(UnavailableError, match=r"has not the key of authority .*put it where --ca-cert"):
        await two.enroll(tmp_path / "a-2")
    assert await two.authority.authenticate("", first.certificate) == first.agent_id
    await two.authorities.start()  # with the older pair: it is known, and does not come back
    assert [a.signs for a in await two.authorities.all()] == [True, False]
    for name in ("ca.pem", "ca.key"):
        shutil.copy(tmp_path / "new" / name, tmp_path / "given-2" / name)
    second = await two.enroll(tmp_path / "a-2")  # found without a restart
    assert await one.authority.authenticate("", second.certificate) == second.agent_id


async def test_agents_hear_of_it_on_their_sessions_and_the_door_takes_both_until_it_is_finished(
    start: Start, tmp_path: Path
) -> None:
    certificate = make_certificate(tmp_path, "server")
    trust = ClientTls(ca=certificate.read_bytes())
    tls = ServerTls(certificate=trust.ca, key=key_of(certificate).read_bytes())
    async with start(tls=tls, trust=trust, channel_mtls=Door(address="127.0.0.1:0")) as plane:
        request = EnrollRequest(
            token=await plane.token(), facts=Facts(name="a", version="0"), csr=keys.request(tmp_path)
        )
        response = await enroll(plane.running.ready.channel, request, tls=trust)

        def identity(given: EnrollResponse) -> Identity:
            return Identity(
                agent_id=given.agent_id,
                credential=given.credential,
                certificate=given.certificate,
                key=keys.read(tmp_path),
                certificate_port=given.certificate_port,
                sign=partial(keys.sign, tmp_path),
            )

        async def shown_by(way: str) -> bool:
            (agent,) = await plane.client.list_agents()
            return (agent.state, agent.shown) == (AgentState.CONNECTED, way)

        agent = FakeAgent(plane.running.ready.channel, identity=identity(response), facts=request.facts, tls=trust)
        async with agent:
            await agent.until(lambda a: a.completed == 1)
            made = await plane.client.rotate_authority()
            await agent.until(lambda a: len(a.authorities) == 1)
            told = agent.authorities[0]
            assert (told.ca_bundle, told.renew_within_ms > 0) == (made.certificate + response.ca_bundle, True)
            with pytest.raises(ConflictError, match=r"1 connected agent \(a\)"):
                await plane.client.finish_rotation()

            # Renewed over the session that it has, it comes by the new certificate to the same door.
            renewal = replace(request, token="", claims={"renew": "begin"})
            following = await agent.channel.enroll(renewal)
            assert following.ca_bundle == told.ca_bundle
            agent._identity = identity(following)
            agent.channel.move()
            await agent.until(lambda a: a.completed == 2)
            assert await shown_by("certificate")
            claims = {"renew": "commit", "credential": following.credential}
            await agent.channel.enroll(replace(renewal, claims=claims))
            await agent.until(lambda a: not a.authorities[-1].renew_within_ms)

            # By another one that is finished by force, it is let in by its key, and told to renew.
            await plane.client.rotate_authority()
            count = len(agent.authorities)
            await plane.client.finish_rotation(force=True)
            await eventually(lambda: shown_by("key"))
            await agent.until(lambda a: len(a.authorities) > count and a.authorities[-1].renew_within_ms > 0)
            assert [event.kind for event in await plane.events()].count("ca.ended") >= 1
            (left,) = await plane.client.list_authorities()
            assert (left.signs, left.has_key) == (True, True)


@pytest.mark.soak
async def test_a_control_plane_without_authorities_says_so(start: Start, postgres_url: str) -> None:
    async with start(state=postgres_url) as plane:
        with pytest.raises(HeadraceError, match="issues no certificates; start it with --ca-cert"):
            await plane.client.rotate_authority()
