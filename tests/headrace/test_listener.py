"""Where a listener listens, what it refuses, TLS, health and reflection."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
from pathlib import Path

import grpc
import grpc.aio
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from headrace.client import enroll
from headrace.errors import ConflictError, InvalidError, UnavailableError
from headrace.messages import EnrollRequest
from headrace.security import ClientTls, ServerTls
from headrace.server import Listener
from headrace.testing import FakeAgent, FakeControlPlane
from headrace.types import Facts


@pytest.mark.parametrize("address", ["0.0.0.0:0", "[::]:0", "192.0.2.1:8402"])
def test_off_loopback_without_tls_is_refused_and_names_the_flag(address: str) -> None:
    with pytest.raises(InvalidError, match="--channel-insecure"):
        Listener(address, [], insecure_flag="--channel-insecure")
    Listener(address, [], insecure=True)


async def test_port_0_is_bound_and_told() -> None:
    async with Listener("127.0.0.1:0", []) as listener:
        host, _, port = listener.address.rpartition(":")
        assert host == "127.0.0.1"
        assert int(port) > 0


async def test_an_address_in_use_is_a_conflict_that_names_it() -> None:
    async with Listener("127.0.0.1:0", []) as first:
        with pytest.raises(ConflictError, match=f"cannot listen on {first.address}"):
            await Listener(first.address, []).start()


async def test_a_socket_path_can_be_served(tmp_path: Path) -> None:
    async with FakeControlPlane(address=f"unix:{tmp_path}/s") as plane:
        assert plane.address == f"unix:{tmp_path}/s"
        async with FakeAgent(plane.address) as agent:
            await agent.until(lambda agent: agent.completed == 1)


async def test_health_says_serving_and_then_not_while_draining() -> None:
    async with Listener("127.0.0.1:0", []) as listener, grpc.aio.insecure_channel(listener.address) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        request = health_pb2.HealthCheckRequest()
        assert (await stub.Check(request)).status == health_pb2.HealthCheckResponse.SERVING
        await listener.drain(0.01)
        assert (await stub.Check(request)).status == health_pb2.HealthCheckResponse.NOT_SERVING


async def test_reflection_lists_the_services() -> None:
    async with FakeControlPlane() as plane, grpc.aio.insecure_channel(plane.address) as channel:
        call = reflection_pb2_grpc.ServerReflectionStub(channel).ServerReflectionInfo()
        await call.write(reflection_pb2.ServerReflectionRequest(list_services=""))
        response = await call.read()
        await call.done_writing()
        names = {service.name for service in response.list_services_response.service}
        assert {"headrace.v1.Channel", "grpc.health.v1.Health"} <= names


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A throw-away authority, and a server's and a client's certificate by it."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed: apt-get install openssl")
    folder = tmp_path_factory.mktemp("tls")

    def openssl(*arguments: str) -> None:
        subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)

    curve = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2")
    openssl("req", "-x509", *curve, "-keyout", "ca.key", "-out", "ca.pem", "-subj", "/CN=test authority")
    for name in ("server", "client"):
        signed = ("-CA", "ca.pem", "-CAkey", "ca.key", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1")
        files = ("-keyout", f"{name}.key", "-out", f"{name}.pem")
        openssl("req", "-x509", *curve, *files, "-subj", f"/CN={name}", *signed)
    return folder


def client_tls(folder: Path, *, certificate: bool = False) -> ClientTls:
    ca = (folder / "ca.pem").read_bytes()
    if not certificate:
        return ClientTls(ca=ca)
    return ClientTls(ca=ca, certificate=(folder / "client.pem").read_bytes(), key=(folder / "client.key").read_bytes())


def server_tls(folder: Path, *, client_ca: bool = False) -> ServerTls:
    return ServerTls(
        certificate=(folder / "server.pem").read_bytes(),
        key=(folder / "server.key").read_bytes(),
        client_ca=(folder / "ca.pem").read_bytes() if client_ca else b"",
    )


async def test_an_agent_connects_over_tls(certificates: Path) -> None:
    async with FakeControlPlane(tls=server_tls(certificates)) as plane:
        async with FakeAgent(plane.address, tls=client_tls(certificates)) as agent:
            await agent.until(lambda agent: agent.completed == 1)


async def test_a_client_certificate_is_demanded_where_an_authority_is_given(certificates: Path) -> None:
    async with FakeControlPlane(tls=server_tls(certificates, client_ca=True)) as plane:
        async with FakeAgent(plane.address, tls=client_tls(certificates, certificate=True)) as agent:
            await agent.until(lambda agent: agent.completed == 1)
        request = EnrollRequest(token="token", facts=Facts(name="a"))
        with pytest.raises(UnavailableError):
            await enroll(plane.address, request, tls=client_tls(certificates))


async def test_plain_text_to_a_tls_listener_is_unavailable_and_does_no_harm(certificates: Path) -> None:
    async with FakeControlPlane(tls=server_tls(certificates)) as plane:
        async with asyncio.timeout(30):
            with pytest.raises(UnavailableError):
                await enroll(plane.address, EnrollRequest(token="token", facts=Facts(name="a")))
        async with FakeAgent(plane.address, tls=client_tls(certificates)) as agent:
            await agent.until(lambda agent: agent.completed == 1)
