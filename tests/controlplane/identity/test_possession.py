"""A credential that was copied is good for nothing without the key: at Connect, and at every other call."""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path

import pytest

from agent import keys
from controlplane.identity.credentials import CALL_CREDENTIAL_S
from controlplane.identity.possession import verifies
from headrace.client import Identity, enroll
from headrace.connection import Connection
from headrace.errors import ForbiddenError, NotFoundError, UnauthenticatedError
from headrace.messages import EnrollRequest, GetBlobRequest
from headrace.proofs import CallCredential, call_text
from headrace.rpcs.channel import CHANNEL
from headrace.testing import FakeAgent
from headrace.types import Facts
from tests.controlplane.conftest import Plane, Start, manifest
from tests.processes import eventually

FACTS = Facts(name="keyed", version="0")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "agent").mkdir()
    return tmp_path / "agent"


async def keyed(plane: Plane, folder: Path) -> Identity:
    """An agent that enrolled with the key of a folder."""
    request = EnrollRequest(token=await plane.token(), facts=FACTS, csr=keys.request(folder))
    response = await enroll(plane.running.ready.channel, request)
    sign = partial(keys.sign, folder)
    return Identity(agent_id=response.agent_id, credential=response.credential, sign=sign)


async def get_blob(plane: Plane, credential: str, sha256: str = "0" * 64) -> None:
    """One call with this credential, whoever makes it."""
    connection = Connection(plane.running.ready.channel, credential=credential)
    try:
        async for _ in connection.server_stream(CHANNEL["GetBlob"], GetBlobRequest(sha256=sha256)):
            pass
    finally:
        await connection.close()


def signed(identity: Identity, folder: Path, *, age_s: float = 0.0) -> str:
    at_ms = int((time.time() - age_s) * 1000)
    return str(CallCredential(identity.agent_id, at_ms, keys.sign(folder, call_text(identity.agent_id, at_ms))))


async def test_an_agent_with_a_key_proves_it_and_signs_its_calls(start: Start, folder: Path) -> None:
    async with start() as plane:
        identity = await keyed(plane, folder)
        async with FakeAgent(plane.running.ready.channel, identity=identity, facts=FACTS) as agent:
            await plane.client.apply_pipelines([manifest()])
            await agent.until(lambda a: "edge" in a.contents)
            assert (await plane.client.get_agent("keyed")).shown == "key"
            assert await agent.channel.get_blob(agent.history[0].sha256) == agent.contents["edge"]  # type: ignore[union-attr]


async def test_a_copied_credential_opens_no_session_and_makes_no_call(
    start: Start, folder: Path, tmp_path: Path
) -> None:
    (tmp_path / "thief").mkdir()
    keys.request(tmp_path / "thief")
    async with start() as plane:
        identity = await keyed(plane, folder)
        for sign, why in (
            (None, "asks for a proof by the agent's key, and there is none here"),
            (partial(keys.sign, tmp_path / "thief"), "did not prove that it has the key"),
        ):
            copy = Identity(agent_id=identity.agent_id, credential=identity.credential, sign=sign)
            async with FakeAgent(plane.running.ready.channel, identity=copy, facts=FACTS) as thief:
                await thief.until(lambda a, why=why: why in a.state.error)  # type: ignore[misc]
                assert thief.completed == 0
        with pytest.raises(UnauthenticatedError, match="its calls are signed by it"):
            await get_blob(plane, identity.credential)
        assert (await plane.client.get_agent("keyed")).state == "pending"


async def test_a_signed_credential_is_good_for_its_moments_and_for_its_agent_only(
    start: Start, folder: Path, tmp_path: Path
) -> None:
    (tmp_path / "other").mkdir()
    async with start() as plane:
        identity, other = await keyed(plane, folder), await keyed(plane, tmp_path / "other")
        with pytest.raises(NotFoundError):  # it was let in, and there is no such blob
            await get_blob(plane, signed(identity, folder))
        for credential, why in (
            (signed(identity, folder, age_s=CALL_CREDENTIAL_S + 30), "^replayed: "),
            (signed(identity, folder, age_s=-CALL_CREDENTIAL_S - 30), "^replayed: "),
            (signed(other, folder), "did not sign this credential with its key"),
            (signed(identity, folder)[:-8], "did not sign this credential|not a signed credential"),
        ):
            with pytest.raises(UnauthenticatedError, match=why):
                await get_blob(plane, credential)
        await plane.client.revoke_agent(identity.agent_id)

        async def forbidden() -> bool:
            try:
                await get_blob(plane, signed(identity, folder))
            except ForbiddenError as error:
                return "was revoked" in error.message
            except NotFoundError:
                return False  # this replica has not heard of it yet
            return False

        await eventually(forbidden, timeout=1.0)


async def test_an_agent_that_showed_no_key_is_asked_for_none(start: Start) -> None:
    async with start() as plane, await plane.agent(name="plain") as agent:
        await agent.until(lambda a: a.completed > 0)
        assert (await plane.client.get_agent("plain")).shown == "credential"


@pytest.mark.parametrize("public_key", ["", "junk", "MFkw", "é"])
def test_what_is_no_key_verifies_nothing(public_key: str) -> None:
    assert not verifies(public_key, b"text", b"signature")
