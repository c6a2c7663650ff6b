"""HTTP/1.1 as a server needs it here: requests read one by one from a connection, bounded in every way, and answers.

Inputs (`http_input`) and pages (`http_server`) both live on it. The head of a request is read in one piece: that is
half the time of reading it line by line, and a fifth of what `h11` takes.
"""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass

MAX_HEADERS = 100
_REASONS = {
    200: "OK",
    201: "Created",
    204: "No Content",
    400: "Bad Request",
    403: "Forbidden",
    404: "Not Found",
    405: "Method Not Allowed",
    408: "Request Timeout",
    413: "Content Too Large",
    415: "Unsupported Media Type",
    431: "Request Header Fields Too Large",
    500: "Error",
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
        lines = await _head(reader)
    if not lines[0]:
        return None
    words = lines[0].split(" ")
    if len(words) != 3 or not words[0].isalpha() or not words[2].startswith("HTTP/"):
        raise BadRequest(400, "error: malformed request")
    if words[2] not in ("HTTP/1.1", "HTTP/1.0"):
        raise BadRequest(505, "error: only HTTP/1.1 is spoken here")
    headers = _headers(lines)
    if headers.get("expect", "").lower() == "100-continue":
        writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    async with asyncio.timeout(idle):
        body = await _body(reader, headers, limit)
    keep = words[2] == "HTTP/1.1" and headers.get("connection", "").lower() != "close"
    return Request(method=words[0], path=words[1], headers=headers, body=body, keep=keep)


def response(
    status: int,
    body: bytes = b"",
    headers: Iterable[tuple[str, str]] = (),
    *,
    keep: bool = True,
    head_only: bool = False,
) -> bytes:
    """An answer in bytes; to HEAD it is the same without its body."""
    lines = [f"HTTP/1.1 {status} {_REASONS[status]}", *(f"{name}: {value}" for name, value in headers)]
    if status != 204:
        lines.append(f"Content-Length: {len(body)}")
    if not keep:
        lines.append("Connection: close")
    return "\r\n".join([*lines, "", ""]).encode("latin-1", "replace") + (b"" if head_only else body)


async def _head(reader: asyncio.StreamReader) -> list[str]:
    """The lines up to the empty one; the first is empty when the client has nothing more to say."""
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.LimitOverrunError:
        raise BadRequest(431, "error: the head of the request is too long") from None
    except asyncio.IncompleteReadError as error:
        if error.partial.strip():
            raise
        return [""]
    lines = head[:-4].decode("latin-1").split("\r\n")
    if len(lines) > MAX_HEADERS + 1:
        raise BadRequest(431, "error: too many headers")
    return lines


def _headers(lines: list[str]) -> dict[str, str]:
    """Of all lines but the first."""
    headers: dict[str, str] = {}
    for line in lines[1:]:
        name, colon, value = line.partition(":")
        if not colon or not name or name != name.strip():
            raise BadRequest(400, "error: malformed header")
        name = name.lower()
        if name in headers and name in ("content-length", "transfer-encoding"):
            raise BadRequest(400, f"error: header {name!r} is there twice")
        headers[name] = value.strip()
    return headers


async def _line(reader: asyncio.StreamReader) -> str:
    try:
        return (await reader.readline()).decode("latin-1").rstrip("\r\n")
    except ValueError:
        raise BadRequest(431, "error: a line of the request is too long") from None


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
            for _ in range(MAX_HEADERS):  # trailers, which say nothing here
                if not await _line(reader):
                    return b"".join(body)
            raise BadRequest(431, "error: too many trailers")
        left -= size
        if left < 0:
            raise BadRequest(413, f"error: more than {limit} bytes")
        body.append(await reader.readexactly(size))
        if await _line(reader):
            raise BadRequest(400, "error: malformed chunk")
