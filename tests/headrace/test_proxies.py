"""Which proxy a connection takes: by the variables, and then on the wire."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from headrace.errors import InvalidError, UnavailableError
from headrace.proxies import proxy_of
from headrace.security import Address, ClientTls, ServerTls, parse_address
from headrace.testing import FakeAgent, FakeControlPlane
from tests.certificates import key_of, make_certificate

PROXY = "http://p.example.com:3128"
FAR = Address(host="h.example.com", port=443)


@pytest.mark.parametrize(
    ("address", "tls", "environment", "chosen"),
    [
        ("h:1", True, {}, ""),
        ("h:1", True, {"HTTPS_PROXY": PROXY}, PROXY),
        ("h:1", False, {"HTTPS_PROXY": PROXY}, ""),
        ("h:1", False, {"HTTP_PROXY": PROXY}, PROXY),
        ("h:1", True, {"https_proxy": PROXY, "HTTPS_PROXY": "http://other:1"}, PROXY),
        ("h:1", True, {"https_proxy": "", "HTTPS_PROXY": PROXY}, PROXY),
        ("h:1", True, {"HTTPS_PROXY": "p:3128"}, "http://p:3128"),
        ("h:1", True, {"HTTPS_PROXY": "http://p"}, "http://p:80"),
        ("h:1", True, {"HTTPS_PROXY": "http://[::2]:9/"}, "http://[::2]:9"),
        ("h:1", True, {"HTTPS_PROXY": "http://a:b%40c@p:1"}, "http://a:b@c@p:1"),
        ("127.0.0.1:1", True, {"HTTPS_PROXY": PROXY}, ""),
        ("[::1]:1", True, {"HTTPS_PROXY": PROXY}, ""),
        ("localhost:1", True, {"HTTPS_PROXY": PROXY}, ""),
        ("unix:/run/s", False, {"HTTP_PROXY": PROXY}, ""),
        ("h:1", True, {"HTTPS_PROXY": PROXY, "NO_PROXY": "*"}, ""),
        ("a.h.io:1", True, {"HTTPS_PROXY": PROXY, "no_proxy": "x, h.io"}, ""),
        ("a.H.io:1", True, {"HTTPS_PROXY": PROXY, "no_proxy": ".h.io"}, ""),
        ("a.h.io:1", True, {"HTTPS_PROXY": PROXY, "no_proxy": "*.h.io:1"}, ""),
        ("a.h.io:2", True, {"HTTPS_PROXY": PROXY, "no_proxy": "h.io:1"}, PROXY),
        ("ah.io:1", True, {"HTTPS_PROXY": PROXY, "no_proxy": "h.io"}, PROXY),
        ("10.1.2.3:1", True, {"HTTPS_PROXY": PROXY, "no_proxy": "10.0.0.0/8"}, ""),
        ("10.1.2.3:1", True, {"HTTPS_PROXY": PROXY, "no_proxy": "10.1.2.3:1"}, ""),
        ("10.1.2.3:1", True, {"HTTPS_PROXY": PROXY, "no_proxy": "10.1.2.3:2,2.3"}, PROXY),
        ("11.1.2.3:1", True, {"HTTPS_PROXY": PROXY, "no_proxy": "10.0.0.0/8"}, PROXY),
        ("[fd00::1]:1", True, {"HTTPS_PROXY": PROXY, "no_proxy": "fd00::/8"}, ""),
        ("[fd00::1]:1", True, {"HTTPS_PROXY": PROXY, "no_proxy": "[fd00::1]:1"}, ""),
    ],
)
def test_the_variables_choose_the_proxy(address: str, tls: bool, environment: Mapping[str, str], chosen: str) -> None:
    proxy = proxy_of(parse_address(address), tls=tls, environment=environment)
    assert (proxy.url if proxy else "") == chosen


@pytest.mark.parametrize(
    "value", ["https://u:secret@p:1", "socks5://u:secret@p", "http://u:secret@", "http://u:secret@p:x"]
)
def test_a_proxy_that_cannot_be_used_is_refused_by_its_variable_and_without_its_password(value: str) -> None:
    with pytest.raises(InvalidError, match="HTTPS_PROXY") as refused:
        proxy_of(FAR, tls=True, environment={"HTTPS_PROXY": value})
    assert "secret" not in str(refused.value)


class Connect:
    """A proxy that takes CONNECT and leads every name to one address; `asked` is what it was asked, in order."""

    def __init__(self, target: str, *, refuses: str = "") -> None:
        self.target = parse_address(target)
        self.refuses = refuses
        self.asked: list[tuple[str, dict[str, str]]] = []
        self.address = ""

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[Connect]:
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.address = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
        self._tasks: set[asyncio.Task[None]] = set()
        try:
            yield self
        finally:
            server.close()
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
            await server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
            headers = dict(line.lower().split(": ", 1) for line in head[1:] if line)
            self.asked.append((head[0], headers))
            if self.refuses:
                writer.write(f"HTTP/1.1 {self.refuses}\r\n\r\n".encode())
                await writer.drain()
                return
            far_reader, far_writer = await asyncio.open_connection(self.target.host, self.target.port)
            writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
            try:
                await asyncio.gather(_copy(reader, far_writer), _copy(far_reader, writer))
            finally:
                far_writer.transport.abort()
        except (OSError, asyncio.CancelledError, asyncio.IncompleteReadError):
            pass
        finally:
            self._tasks.discard(task)
            writer.transport.abort()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(1 << 16):
        writer.write(data)
        await writer.drain()
    writer.transport.abort()


async def test_an_agent_reaches_its_plane_through_the_proxy_with_credentials_and_tls_end_to_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    certificate = make_certificate(tmp_path, "server", names="DNS:plane.test")
    tls = ServerTls(certificate=certificate.read_bytes(), key=key_of(certificate).read_bytes())
    async with FakeControlPlane(tls=tls) as plane, Connect(plane.address).serving() as proxy:
        monkeypatch.setenv("HTTPS_PROXY", f"http://ann:p%40ss@{proxy.address}")
        async with FakeAgent("https://plane.test:8402", tls=ClientTls(ca=tls.certificate)) as agent:
            await agent.until(lambda a: a.completed == 1)
        lines, headers = zip(*proxy.asked, strict=True)
        assert set(lines) == {"CONNECT plane.test:8402 HTTP/1.1"}
        assert headers[0]["proxy-authorization"] == f"basic {base64.b64encode(b'ann:p@ss').decode().lower()}"


async def test_loopback_needs_no_exemption_whatever_the_core_itself_would_do(monkeypatch: pytest.MonkeyPatch) -> None:
    async with FakeControlPlane() as plane, Connect(plane.address).serving() as proxy:
        for name in ("http_proxy", "https_proxy", "grpc_proxy"):
            monkeypatch.setenv(name, f"http://{proxy.address}")
        async with FakeAgent(plane.address) as agent:
            await agent.until(lambda a: a.completed == 1)
        assert proxy.asked == []


async def test_a_proxy_that_refuses_is_named_and_its_password_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    async with Connect("127.0.0.1:9", refuses="407 Proxy Authentication Required").serving() as proxy:
        monkeypatch.setenv("HTTPS_PROXY", f"http://ann:secret@{proxy.address}")
        with pytest.raises(UnavailableError, match=f"through the proxy {proxy.address}, which HTTPS_PROXY") as refused:
            async with FakeAgent("https://plane.test"):
                pass
        assert "407" in str(refused.value)
        assert "secret" not in str(refused.value)
