"""Certificates of agents: what the authority signs, whom one stands for, and by which door it lets in."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding

from agent import keys
from controlplane.identity import Authorities, Authority, Enrolment
from controlplane.identity.authority_files import Folder
from controlplane.identity.certificates import CertificateAuthority, public_key_of, read
from controlplane.model import CertificateRow
from controlplane.settings import Door, Settings
from headrace import api
from headrace.client import Identity, enroll
from headrace.errors import ForbiddenError, InvalidError, UnauthenticatedError
from headrace.messages import EnrollRequest, EnrollResponse
from headrace.security import ClientTls, ServerTls
from headrace.testing import FakeAgent
from headrace.types import Facts
from tests.certificates import key_of, make_certificate
from tests.controlplane.conftest import Rules, Start
from tests.processes import eventually

NOW = datetime(2026, 1, 1, tzinfo=UTC)
DAY_S = 86_400.0


def csr(folder: Path, name: str = "agent") -> bytes:
    """The request of an agent whose data folder is this one."""
    (folder / name).mkdir(exist_ok=True)
    return keys.request(folder / name)


def authority(folder: Path, name: str = "ca") -> CertificateAuthority:
    (folder / name).mkdir(exist_ok=True)
    return CertificateAuthority.in_folder(folder / name, lifetime_s=DAY_S, now=NOW)


class Identities:
    """The rules of enrolment and authentication, with an authority."""

    def __init__(self, rules: Rules, folder: Path) -> None:
        self.rules = rules
        self.folder = folder
        self.ca = authority(folder)
        files = Folder(folder / "ca", lifetime_s=DAY_S, clock=rules.clock.now)
        self.authorities = Authorities(store=rules.store, view=rules.view, files=files, clock=rules.clock.now)
        self.enrolment = Enrolment(store=rules.store, clock=rules.clock.now, authorities=self.authorities)
        self.authority = Authority(store=rules.store, view=rules.view, authorities=self.authorities)

    async def enroll(self, name: str = "agent", *, uses: str = "", **claims: str) -> EnrollResponse:
        """An agent with a data folder of this name; `uses` is that of another one's key."""
        made = await self.rules.tokens.create(api.CreateTokenRequest(), author="ann")
        request = EnrollRequest(
            token=made.secret, facts=Facts(name=name), csr=csr(self.folder, uses or name), claims=claims
        )
        return await self.enrolment.enroll(request, peer="ipv4:10.0.0.1:1")

    def issue(self, agent_id: str, *, key: str = "agent", ca: CertificateAuthority | None = None, **more: Any) -> bytes:
        """A certificate that was never given out."""
        instance_id = more.get("instance_id", self.rules.view.plane.instance_id)
        now = self.rules.clock.now()
        return (
            (ca or self.ca)
            .issue(csr(self.folder, key), agent_id=agent_id, instance_id=instance_id, now=now)
            .certificate
        )


@pytest.fixture
async def identities(rules: Rules, tmp_path: Path) -> Identities:
    identities = Identities(rules, tmp_path)
    await identities.authorities.start()
    return identities


def test_a_certificate_names_its_agent_and_is_good_from_a_little_before_now(tmp_path: Path) -> None:
    ca = authority(tmp_path)
    issued = ca.issue(csr(tmp_path), agent_id="a-1", instance_id="i", now=NOW)
    certificate = x509.load_pem_x509_certificate(issued.certificate)
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.UniformResourceIdentifier) == ["spiffe://i/agent/a-1"]
    assert certificate.not_valid_before_utc == NOW - timedelta(minutes=5)
    assert certificate.not_valid_after_utc == issued.expires_at == NOW + timedelta(days=1)
    assert isinstance(certificate.public_key(), ec.EllipticCurvePublicKey)
    shown = read(issued.certificate, [ca.certificate])
    assert shown is not None
    assert (shown.agent_id, shown.instance_id, shown.serial) == ("a-1", "i", issued.serial)
    assert shown.public_key == public_key_of(csr(tmp_path))


def test_the_authority_of_a_folder_stays_and_its_key_is_its_owners_alone(tmp_path: Path) -> None:
    first = authority(tmp_path)
    assert (tmp_path / "ca/ca.key").stat().st_mode & 0o777 == 0o600
    assert authority(tmp_path).bundle == first.bundle
    issued = first.issue(csr(tmp_path), agent_id="a-1", instance_id="i", now=NOW)
    (tmp_path / "ca/ca.pem").unlink()  # a start that was cut short between the two files
    assert read(issued.certificate, [authority(tmp_path).certificate]) is not None


def test_an_authority_that_cannot_be_is_refused_by_name(tmp_path: Path) -> None:
    authority(tmp_path, "one"), authority(tmp_path, "two")
    leaf = tmp_path / "leaf.pem"
    leaf.write_bytes(
        authority(tmp_path, "one").issue(csr(tmp_path), agent_id="a", instance_id="i", now=NOW).certificate
    )
    (tmp_path / "junk").write_text("junk")
    for certificate, key, why in (
        ("one/ca.pem", "two/ca.key", "key is not that of its certificate"),
        ("none.pem", "one/ca.key", "none.pem: No such file"),
        ("junk", "one/ca.key", "junk is not what it should be"),
        ("one/ca.pem", "junk", "junk is not what it should be"),
        ("leaf.pem", "agent/agent.key", "not a CA's"),
    ):
        with pytest.raises(InvalidError, match=why):
            CertificateAuthority.load(tmp_path / certificate, tmp_path / key, lifetime_s=1)


def _request(key: Any, change: Callable[[bytearray], object] = lambda data: None) -> bytes:
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    data = bytearray(builder.sign(key, hashes.SHA256()).public_bytes(Encoding.DER))
    change(data)
    return bytes(data)


def _flip_last(data: bytearray) -> None:
    data[-1] ^= 1


@pytest.mark.parametrize(
    ("request_of", "why"),
    [
        (lambda: b"junk", "not PKCS#10"),
        (lambda: bytes(20_000), "may have"),
        (lambda: _request(ec.generate_private_key(ec.SECP384R1())), "another kind"),
        (lambda: _request(rsa.generate_private_key(65537, 2048)), "another kind"),
        (lambda: _request(ec.generate_private_key(ec.SECP256R1()), _flip_last), "not signed by the key|not PKCS#10"),
    ],
)
def test_a_request_that_proves_no_key_is_refused(request_of: Callable[[], bytes], why: str) -> None:
    with pytest.raises(InvalidError, match=why):
        public_key_of(request_of())


def test_an_agent_makes_its_key_once_and_for_itself_alone(tmp_path: Path) -> None:
    first, again = csr(tmp_path), csr(tmp_path)
    assert public_key_of(first) == public_key_of(again) != public_key_of(csr(tmp_path, "other"))
    assert (tmp_path / "agent/agent.key").stat().st_mode & 0o777 == 0o600
    (tmp_path / "agent/agent.key").write_text("junk")
    with pytest.raises(keys.AgentKeyError, match=r"agent.key holds no key of an agent"):
        keys.request(tmp_path / "agent")


async def test_an_agent_is_known_by_its_certificate_before_and_after_the_view_has_it(identities: Identities) -> None:
    response = await identities.enroll()
    for _ in range(2):
        assert await identities.authority.authenticate("", response.certificate) == response.agent_id
        assert await identities.authority.authenticate(response.credential, response.certificate) == response.agent_id
        await identities.rules.follow()
    assert response.ca_bundle == identities.ca.bundle
    assert response.certificate_until == identities.rules.clock.now() + timedelta(days=1)


async def test_each_certificate_that_is_good_for_nothing_is_refused_by_its_own_reason(identities: Identities) -> None:
    first = await identities.enroll()
    renewed = await identities.enroll(credential=first.credential)
    assert renewed.agent_id == first.agent_id
    other = await identities.enroll("other")
    await identities.rules.follow()
    foreign = authority(identities.folder, "foreign")
    id = first.agent_id
    for certificate, credential, why in (
        (identities.issue(id, ca=foreign), "", "wrong CA: "),
        (first.certificate, "", "was revoked at .*: replaced by a newer one"),
        (identities.issue(id), "", "is not known here"),
        (identities.issue(id, instance_id="elsewhere"), "", "is of instance elsewhere"),
        (renewed.certificate, other.credential, "a call comes from one agent"),
        (renewed.certificate, "hra_x.y", "has no such credential"),
    ):
        with pytest.raises(UnauthenticatedError, match=why):
            await identities.authority.authenticate(credential, certificate)
    assert await identities.authority.authenticate("", renewed.certificate) == id


async def test_a_certificate_for_another_key_than_the_agents_is_refused(identities: Identities) -> None:
    first, thief = await identities.enroll(), await identities.enroll("thief")
    stolen = identities.issue(first.agent_id, key="thief")
    shown = await identities.authorities.read(stolen)
    assert shown is not None
    async with identities.rules.store.write() as tx:  # even if it had been given out
        now = identities.rules.clock.now()
        await tx.put(
            CertificateRow(
                serial=shown.serial, agent_id=first.agent_id, issued_at=now, expires_at=now + timedelta(days=1)
            )
        )
    with pytest.raises(UnauthenticatedError, match="is for another key than the one that the agent enrolled with"):
        await identities.authority.authenticate("", stolen)
    assert thief.agent_id != first.agent_id


async def test_a_revoked_agent_is_forbidden_by_certificate_too(identities: Identities) -> None:
    response = await identities.enroll()
    await identities.rules.follow()
    await identities.rules.fleet.agents.revoke(api.RevokeAgentRequest(agent=response.agent_id), author="ann")
    await identities.rules.follow()
    with pytest.raises(ForbiddenError, match="was revoked"):
        await identities.authority.authenticate("", response.certificate)
    async with identities.rules.store.read() as reader:
        (row,) = await reader.find(CertificateRow, agent_id=response.agent_id)
    assert (row.revoked_at, row.reason) == (identities.rules.clock.now(), "the agent was revoked")


async def test_a_credential_without_the_key_that_came_with_it_does_not_keep_the_id(identities: Identities) -> None:
    first = await identities.enroll()
    copy = await identities.enroll("copy", credential=first.credential)
    assert copy.agent_id != first.agent_id
    assert await identities.authority.authenticate(first.credential) == first.agent_id
    again = await identities.enroll("again", uses="agent", credential=first.credential)
    assert again.agent_id == first.agent_id


@pytest.mark.parametrize(
    ("more", "why"),
    [
        ({"ca_cert": Path("ca.pem")}, "both --ca-cert and --ca-key"),
        ({"certificate_s": 1.0}, "5 seconds at least"),
        ({"channel_mtls": Door(address="127.0.0.1:0")}, "needs a certificate of the server"),
        (
            {
                "channel_mtls": Door(address="127.0.0.1:0"),
                "state": "postgresql://h/d",
                "tls": ServerTls(certificate=b"c", key=b"k"),
            },
            "several control planes may share this state.*--ca-cert and --ca-key",
        ),
    ],
)
def test_settings_that_cannot_be_are_refused(tmp_path: Path, more: dict[str, Any], why: str) -> None:
    with pytest.raises(InvalidError, match=why):
        Settings(data_dir=tmp_path, **more)


async def test_each_agent_shows_by_which_way_it_came_and_a_revoked_one_is_cut_at_once(
    start: Start, tmp_path: Path
) -> None:
    certificate = make_certificate(tmp_path, "server")
    trust = ClientTls(ca=certificate.read_bytes())
    tls = ServerTls(certificate=trust.ca, key=key_of(certificate).read_bytes())
    async with start(tls=tls, trust=trust, channel_mtls=Door(address="127.0.0.1:0")) as plane:
        request = EnrollRequest(token=await plane.token(), facts=Facts(name="keyed", version="0"), csr=csr(tmp_path))
        response = await enroll(plane.running.ready.channel, request, tls=trust)
        identity = Identity(
            agent_id=response.agent_id,
            credential="",  # by its certificate alone
            certificate=response.certificate,
            key=keys.read(tmp_path / "agent"),
            certificate_port=response.certificate_port,
        )
        keyed = FakeAgent(plane.running.ready.channel, identity=identity, facts=request.facts, tls=trust)
        async with keyed, await plane.agent(name="plain") as plain:
            for agent in (keyed, plain):
                await agent.until(lambda a: a.completed > 0)
            ways = {agent.facts.name: agent.shown for agent in await plane.client.list_agents()}
            assert ways == {"keyed": "certificate", "plain": "credential"}
            await plane.client.revoke_agent("keyed")
            await keyed.until(lambda a: not a.state.connected, timeout=1.0)
            assert [agent.shown for agent in await plane.client.list_agents()] == ["credential"]


async def test_a_certificate_by_another_authority_does_not_pass_the_door_and_the_agent_takes_the_other(
    start: Start, tmp_path: Path
) -> None:
    certificate = make_certificate(tmp_path, "server")
    trust = ClientTls(ca=certificate.read_bytes())
    tls = ServerTls(certificate=trust.ca, key=key_of(certificate).read_bytes())
    foreign = authority(tmp_path, "foreign")
    async with start(tls=tls, trust=trust, channel_mtls=Door(address="127.0.0.1:0")) as plane:
        request = EnrollRequest(token=await plane.token(), facts=Facts(name="a", version="0"), csr=csr(tmp_path))
        response = await enroll(plane.running.ready.channel, request, tls=trust)
        wrong = foreign.issue(
            csr(tmp_path), agent_id=response.agent_id, instance_id=response.instance_id, now=datetime.now(UTC)
        )
        identity = Identity(
            agent_id=response.agent_id,
            credential=response.credential,
            certificate=wrong.certificate,
            key=keys.read(tmp_path / "agent"),
            certificate_port=response.certificate_port,
            sign=partial(keys.sign, tmp_path / "agent"),
        )
        async with FakeAgent(plane.running.ready.channel, identity=identity, facts=request.facts, tls=trust) as agent:
            await agent.until(lambda a: a.state.error != "")
            await agent.until(lambda a: a.completed > 0)

            async def by_key() -> bool:
                return [agent.shown for agent in await plane.client.list_agents()] == ["key"]

            await eventually(by_key)
