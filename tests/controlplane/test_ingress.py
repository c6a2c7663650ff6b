"""A whole control plane behind a real nginx and a real HAProxy: agents with keys, by both ways that there are."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest

from agent import keys
from controlplane.settings import Door
from headrace.client import Identity, enroll
from headrace.management import ManagementClient
from headrace.messages import EnrollRequest
from headrace.security import ClientTls, ServerTls
from headrace.testing import FakeAgent
from headrace.types import Facts
from tests.certificates import key_of, make_certificate
from tests.controlplane.conftest import Plane, Start, manifest
from tests.ingress import KINDS, ingress
from tests.processes import eventually
from tests.servers import free_port


async def keyed(plane: Plane, server: str, folder: Path, trust: ClientTls) -> FakeAgent:
    """An agent with a key and a certificate, enrolled at this address."""
    facts = Facts(name="keyed", version="0")
    request = EnrollRequest(token=await plane.token(), facts=facts, csr=keys.request(folder))
    response = await enroll(server, request, tls=trust)
    identity = Identity(
        agent_id=response.agent_id,
        credential=response.credential,
        certificate=response.certificate,
        key=keys.read(folder),
        certificate_port=response.certificate_port,
        sign=partial(keys.sign, folder),
    )
    return FakeAgent(server, identity=identity, facts=facts, tls=trust)


async def works(plane: Plane, agent: FakeAgent, *, shown: str) -> None:
    """It is told of a pipeline, says that it runs, and moves when it is asked to; it is known by what it `shown`."""
    await agent.until(lambda a: a.completed == 1)
    assert [each.shown for each in await plane.client.list_agents()] == [shown]
    await plane.client.apply_pipelines([manifest(tag="first")])
    await eventually(partial(_is_good, plane))
    for session in plane.running.sessions:
        session.link.drain(0)
    await agent.until(lambda a: a.completed == 2)
    await plane.client.apply_pipelines([manifest(tag="second")])
    await eventually(partial(_is_good, plane))
    assert b"second" in agent.contents["edge"]
    assert [event.kind for event in await plane.events("agent.suspect")] == []


async def _is_good(plane: Plane) -> bool:
    pipeline = await plane.client.get_pipeline("edge")
    return [each.observed and each.observed.good for each in pipeline.workloads] == [pipeline.generation]


@pytest.mark.parametrize("kind", KINDS)
async def test_where_the_ingress_ends_tls_an_agent_proves_its_key_under_a_prefix_too(
    kind: str, start: Start, tmp_path: Path
) -> None:
    trust = ClientTls(ca=make_certificate(tmp_path, "server").read_bytes())
    async with start(channel=f"127.0.0.1:{free_port()}") as plane:
        with ingress(kind, tmp_path / kind, tmp_path / "server.pem", upstream=plane.running.ready.channel) as front:
            async with await keyed(plane, f"{front.url}/headrace", tmp_path, trust) as agent:
                await works(plane, agent, shown="key")
        with ingress(kind, tmp_path / "people", tmp_path / "server.pem", upstream=plane.running.ready.grpc) as front:
            async with ManagementClient(f"{front.url}/headrace/", plane.running.token, tls=trust) as client:
                assert [agent.facts.name for agent in await client.list_agents()] == ["keyed"]


@pytest.mark.parametrize("kind", KINDS)
async def test_where_the_ingress_passes_tls_through_an_agent_comes_by_its_certificate(
    kind: str, start: Start, tmp_path: Path
) -> None:
    certificate = make_certificate(tmp_path, "server", names="IP:127.0.0.1,IP:127.0.0.2")
    trust = ClientTls(ca=certificate.read_bytes())
    tls = ServerTls(certificate=trust.ca, key=key_of(certificate).read_bytes())
    first, second = free_port(), free_port()
    doors = {"channel": f"127.0.0.1:{first}", "channel_mtls": Door(address=f"127.0.0.1:{second}")}
    async with start(tls=tls, trust=trust, **doors) as plane:
        with ingress(kind, tmp_path / kind, certificate, upstream="127.0.0.1:9", doors=(first, second)) as front:
            async with await keyed(plane, f"{front.passthrough}:{first}", tmp_path, trust) as agent:
                await works(plane, agent, shown="certificate")
