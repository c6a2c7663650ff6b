"""Just enough of an HTTP/1.1 server for inputs: requests read one by one from a connection, bounded in every way."""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass

MAX_HEADERS = 100
_REASONS = {
    200: "OK",
    201: "Created",
    204: "No Content",
    400: "Bad Request",
    404: "Not Found",
    408: "Request Timeout",
    413: "Content Too Large",
    415: "Unsupported Media Type",
    431: "Request Header Fields Too Large",
    501: "Not Implemented",
    503: "Service Unavailable",
    505: "HTTP Version Not Supported",
}


class BadRequest(Exception):
    """A request that cannot be followed to its end; it is answered with `status`, and the connection closed."""

    def __init__(self, status: int, why: str) -> None:
        super().__init__(why)
        self.status = status


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One request; names of headers are in lower case. `keep` says whether the connection goes on after it."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes
    keep: bool


async def read_request(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, limit: int, idle: float | None
) -> Request | None:
    """The next request, its body at most `limit` bytes; None at the end. Each part has `idle` seconds to come.

    Raises BadRequest, and OSError, EOFError or TimeoutError where there is nobody to answer.
    """
    async with asyncio.timeout(idle):
        line = await _line(reader)
        if not line:
            return None
        headers = await _headers(reader)
    words = line.split(" ")
    if len(words) != 3 or not words[0].isalpha() or not words[2].startswith("HTTP/"):
        raise BadRequest(400, "error: malformed request")
    if words[2] not in ("HTTP/1.1", "HTTP/1.0"):
        raise BadRequest(505, "error: only HTTP/1.1 is spoken here")
    if headers.get("expect", "").lower() == "100-continue":
        writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    async with asyncio.timeout(idle):
        body = await _body(reader, headers, limit)
    keep = words[2] == "HTTP/1.1" and headers.get("connection", "").lower() != "close"
    return Request(method=words[0], path=words[1], headers=headers, body=body, keep=keep)


def response(status: int, body: bytes = b"", headers: Iterable[tuple[str, str]] = (), *, keep: bool = True) -> bytes:
    """An answer in bytes."""
    lines = [f"HTTP/1.1 {status} {_REASONS[status]}", *(f"{name}: {value}" for name, value in headers)]
    if status != 204:
        lines.append(f"Content-Length: {len(body)}")
    if not keep:
        lines.append("Connection: close")
    return "\r\n".join([*lines, "", ""]).encode("latin-1", "replace") + body


async def _line(reader: asyncio.StreamReader) -> str:
    try:
        return (await reader.readline()).decode("latin-1").rstrip("\r\n")
    except ValueError:
        raise BadRequest(431, "error: a line of the request is too long") from None


async def _headers(reader: asyncio.StreamReader) -> dict[str, str]:
    headers: dict[str, str] = {}
    for _ in range(MAX_HEADERS):
        line = await _line(reader)
        if not line:
            return headers
        name, colon, value = line.partition(":")
        if not colon or not name or name != name.strip():
            raise BadRequest(400, "error: malformed header")
        if name.lower() in headers and name.lower() in ("content-length", "transfer-encoding"):
            raise BadRequest(400, f"error: header {name.lower()!r} is there twice")
        headers[name.lower()] = value.strip()
    raise BadRequest(431, "error: too many headers")


async def _body(reader: asyncio.StreamReader, headers: dict[str, str], limit: int) -> bytes:
    length = headers.get("content-length")
    if "transfer-encoding" in headers:
        if headers["transfer-encoding"].lower() != "chunked" or length is not None:
            raise BadRequest(400, "error: the length of the body is ambiguous")
        return await _chunks(reader, limit)
    if length is None:
        return b""
    if not (length.isascii() and length.isdigit()):
        raise BadRequest(400, "error: malformed Content-Length")
    if len(length) > 15 or int(length) > limit:
        raise BadRequest(413, f"error: more than {limit} bytes")
    return await reader.readexactly(int(length))


async def _chunks(reader: asyncio.StreamReader, limit: int) -> bytes:
    body: list[bytes] = []
    left = limit
    while True:
        digits = (await _line(reader)).partition(";")[0].strip()
        try:
            size = int(digits, 16) if digits.isalnum() else -1
        except ValueError:
            size = -1
        if size < 0:
            raise BadRequest(400, "error: malformed chunk")
        if size == 0:
            await _headers(reader)
            return b"".join(body)
        left -= size
        if left < 0:
            raise BadRequest(413, f"error: more than {limit} bytes")
        body.append(await reader.readexactly(size))
        if await _line(reader):
            raise BadRequest(400, "error: malformed chunk")
