"""Through a real nginx and a real HAProxy: long silence, much that is said, and what each of them cuts off."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from headrace.client import Identity, enroll
from headrace.connection import Connection
from headrace.errors import UnavailableError
from headrace.messages import EnrollRequest, PutBlobRequest
from headrace.rpcs.channel import CHANNEL
from headrace.security import ClientTls
from headrace.testing import FakeAgent, FakeControlPlane
from headrace.types import Facts, Observed
from tests.certificates import make_certificate
from tests.headrace.client.test_report import Memory
from tests.ingress import KINDS, Ingress, ingress
from tests.processes import eventually

Way = Callable[..., AbstractContextManager[Ingress]]
TIMEOUT_MS, HEARTBEAT_MS = 1200, 400
"""As 60 s, which both have unless told otherwise, is to 20 s."""


@pytest.fixture
def trust(tmp_path: Path) -> ClientTls:
    return ClientTls(ca=make_certificate(tmp_path, "server").read_bytes())


@pytest.fixture(params=KINDS)
def way(request: pytest.FixtureRequest, tmp_path: Path) -> Way:
    return partial(ingress, request.param, tmp_path / "ingress", tmp_path / "server.pem")


async def test_a_silent_agent_outlasts_the_timeouts_of_what_is_on_the_way(trust: ClientTls, way: Way) -> None:
    async with FakeControlPlane(heartbeat_ms=HEARTBEAT_MS) as plane:
        with way(upstream=plane.address, timeout_ms=TIMEOUT_MS) as front:
            async with FakeAgent(front.url, tls=trust) as agent:
                await agent.until(lambda a: a.completed == 1)
                (link,) = plane.links
                heard: set[float] = set()

                def has_beaten() -> bool:
                    heard.add(link.last_heard)
                    return len(heard) > 3 * TIMEOUT_MS // HEARTBEAT_MS

                await eventually(has_beaten)
                assert (len(plane.sessions), plane.farewells, agent.completed) == (1, [], 1)


async def test_without_heartbeats_the_same_silence_ends_the_session(trust: ClientTls, way: Way) -> None:
    async with FakeControlPlane(heartbeat_ms=600_000) as plane:
        with way(upstream=plane.address, timeout_ms=600) as front:
            response = await enroll(plane.address, EnrollRequest(token="token", facts=Facts(name="a", version="0")))
            identity = Identity(agent_id=response.agent_id, credential=response.credential)
            async with FakeAgent(front.url, identity=identity, tls=trust):
                await plane.until_closed()


async def test_more_than_two_mebibytes_go_through_each_stream_at_the_default_limits(trust: ClientTls, way: Way) -> None:
    backlog = Memory()
    async with FakeControlPlane(metrics=True) as plane:
        with way(upstream=plane.address) as front:
            async with FakeAgent(front.url, tls=trust, backlog=backlog) as agent:
                await agent.until(lambda a: a.completed == 1)
                for number in range(12):  # too large to be one message: its notes are left out, and its truths are not
                    note = "n" * (200_000 if number else 3_000_000)
                    agent.report(Observed(pipeline="edge", desired=number + 1, notes=(note,)))
                    await plane.until(lambda seen, number=number: "edge" in seen and seen["edge"].desired == number + 1)
                for number in range(12):
                    backlog.add()
                    name = f"{number}{'x' * 200_000}"
                    last = backlog.batches[-1]
                    backlog.batches[-1] = replace(last, series=(replace(last.series[0], tags={"plugin": name}),))
                await eventually(lambda: not backlog.batches)
                assert len(plane.numbers()) == 12
                assert backlog.refused == []
                assert len(plane.sessions) > 3
                assert set(plane.farewells) == {"closed: superseded"}


async def test_a_call_that_is_too_large_for_nginx_says_what_has_to_be_raised(trust: ClientTls, tmp_path: Path) -> None:
    async def pieces() -> object:
        for _ in range(8):
            yield PutBlobRequest(sha256="0" * 64, size=2 << 20, data=bytes(256 << 10))

    async with FakeControlPlane() as plane:
        with ingress("nginx", tmp_path / "ingress", tmp_path / "server.pem", upstream=plane.address) as front:
            async with FakeAgent(front.url, tls=trust) as agent:
                connection = Connection(front.url, credential=agent.identity().credential, tls=trust)
                with pytest.raises(UnavailableError, match=r"ended the call before .* client_max_body_size"):
                    await connection.client_stream(CHANNEL["PutBlob"], pieces())
                await connection.close()
