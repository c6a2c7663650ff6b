"""The HTTP door: health, and nothing else, for whoever knocks how ever."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from controlplane.http import HttpDoor
from controlplane.settings import Door
from headrace.errors import ConflictError, InvalidError, UnavailableError

READY: list[str] = [""]


async def ready() -> str:
    return READY[0]


@pytest.fixture
async def door() -> AsyncIterator[HttpDoor]:
    READY[0] = ""
    async with HttpDoor(Door(address="127.0.0.1:0"), tls=None, ready=ready) as door:
        yield door


async def ask(door: HttpDoor, request: bytes) -> tuple[int, str]:
    """Status and body; 0 when the door said nothing."""
    return await fetch(door.address, request)


async def fetch(address: str, request: bytes) -> tuple[int, str]:
    """The same of any address."""
    host, _, port = address.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        writer.write(request)
        writer.write_eof()
        answer = await reader.read()
    except ConnectionError:
        return 0, ""
    finally:
        writer.close()
    head, _, body = answer.decode().partition("\r\n\r\n")
    return (int(head.split(" ")[1]) if head else 0), body


def get(path: str, method: str = "GET", *headers: str, host: str = "127.0.0.1") -> bytes:
    lines = (f"{method} {path} HTTP/1.1", f"Host: {host}", *headers, "", "")
    return "\r\n".join(lines).encode()


async def test_a_fleet_whose_store_is_away_is_said_in_words() -> None:
    async def away() -> bytes:
        raise UnavailableError("the metric store is away")

    async with HttpDoor(Door(address="127.0.0.1:0"), tls=None, ready=ready, fleet=away) as door:
        assert await ask(door, get("/metrics/fleet")) == (503, "the metric store is away\n")
        assert (await ask(door, get("/healthz")))[0] == 200


async def test_health_and_readiness(door: HttpDoor) -> None:
    assert await ask(door, get("/healthz")) == (200, "ok\n")
    assert await ask(door, get("/readyz?verbose")) == (200, "ok\n")
    assert await ask(door, get("/readyz", "HEAD")) == (200, "")
    READY[0] = "database is away"
    assert await ask(door, get("/readyz")) == (503, "database is away\n")
    assert (await ask(door, get("/healthz")))[0] == 200


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (get("/api/v1/pipelines"), 404),
        (get("/metrics/fleet"), 404),
        (get("/healthz", "POST"), 405),
        (b"nonsense\r\n\r\n", 405),
        (b"\r\n\r\n", 405),
        (b"\xff\xfe\xfd\r\n\r\n", 405),
        (b"GET /healthz HTTP/1.1\r\n", 0),
        (b"GET /" + b"x" * 100_000 + b" HTTP/1.1\r\n\r\n", 0),
        (b"", 0),
    ],
)
async def test_whatever_else_is_said_gets_a_short_answer_or_none(door: HttpDoor, request_: bytes, status: int) -> None:
    assert (await ask(door, request_))[0] == status
    assert (await ask(door, get("/healthz")))[0] == 200


@pytest.mark.parametrize(
    ("request_", "status", "said"),
    [
        pytest.param(get("/healthz", host="localhost:1"), 200, "ok", id="a name of loopback"),
        pytest.param(get("/healthz", host="headrace.example.com"), 200, "ok", id="a public name"),
        pytest.param(
            get("/healthz", host="evil.example:8400"), 421, "'evil.example:8400' is not a", id="a rebound name"
        ),
        pytest.param(get("/healthz", "GET", "host: localhost"), 400, "one Host", id="two hosts"),
        pytest.param(b"GET /healthz HTTP/1.1\r\n\r\n", 400, "one Host", id="no host"),
        pytest.param(b"GET /healthz HTTP/1.0\r\n\r\n", 200, "ok", id="an old probe without a host"),
        pytest.param(get("/metrics", "GET", "Origin: http://localhost:8400"), 200, "", id="a page of ours"),
        pytest.param(
            get("/metrics", "GET", "ORIGIN: https://evil.example"), 403, "another origin", id="a page elsewhere"
        ),
        pytest.param(get("/metrics", "GET", "Origin: null"), 403, "another origin", id="a page from nowhere"),
    ],
)
async def test_a_page_elsewhere_cannot_ask_by_another_name(request_: bytes, status: int, said: str) -> None:
    address = Door(address="127.0.0.1:0")
    async with HttpDoor(address, tls=None, ready=ready, public_hosts=["headrace.example.com"]) as door:
        answered, body = await ask(door, request_)
    assert (answered, said in body) == (status, True)


async def test_metrics_are_served_as_prometheus_reads_them() -> None:
    async with HttpDoor(Door(address="127.0.0.1:0"), tls=None, ready=ready, metrics=lambda: b"x 1\n") as door:
        assert await ask(door, get("/metrics")) == (200, "x 1\n")


async def test_an_address_in_use_is_said_by_name(door: HttpDoor) -> None:
    with pytest.raises(ConflictError, match=door.address):
        async with HttpDoor(Door(address=door.address), tls=None, ready=ready):
            pass


def test_plain_text_off_loopback_needs_the_flag() -> None:
    with pytest.raises(InvalidError, match="--http-insecure"):
        HttpDoor(Door(address="0.0.0.0:0"), tls=None, ready=ready)
    HttpDoor(Door(address="0.0.0.0:0", insecure=True), tls=None, ready=ready)
