"""Just enough of an HTTP/1.1 client: one request at a time on an asyncio stream, answers bounded or piece by piece."""

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import dataclass

MAX_BODY = 65536
MAX_HEADERS = 100


class ProtocolError(Exception):
    """The peer does not speak HTTP/1.1, or says more than is taken."""


@dataclass(frozen=True, slots=True)
class Response:
    """An answer; `keep` says whether the connection may be used again. `body` ends where the connection's bound is."""

    status: int
    body: bytes
    keep: bool


class Connection:
    """One connection. OSError and EOFError mean that it is of no more use; so does a cancelled request."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, max_body: int = MAX_BODY) -> None:
        self._reader = reader
        self._writer = writer
        self._max_body = max_body

    @property
    def is_closed(self) -> bool:
        """Whether the peer has closed it already."""
        return self._reader.at_eof() or self._writer.is_closing()

    async def request(self, method: str, uri: str, headers: list[tuple[str, str]], body: bytes) -> Response:
        """Send a request and read its answer."""
        status, fields, version = await self._ask(method, uri, headers, body)
        answer, whole = await self._body(status, fields)
        keep = whole and version == "HTTP/1.1" and fields.get("connection", "").lower() != "close"
        return Response(status, answer, keep)

    async def stream(
        self, method: str, uri: str, headers: list[tuple[str, str]]
    ) -> tuple[int, AsyncGenerator[bytes, None]]:
        """Send a request; the status, and the body of the answer as it comes. The connection is then of no more use."""
        status, fields, _ = await self._ask(method, uri, headers, b"")
        return status, self._pieces("chunked" in fields.get("transfer-encoding", "").lower())

    def close(self) -> None:
        self._writer.close()

    async def _ask(
        self, method: str, uri: str, headers: list[tuple[str, str]], body: bytes
    ) -> tuple[int, dict[str, str], str]:
        """Send a request and read the beginning of its answer: status, fields and version."""
        lines = [
            f"{method} {uri} HTTP/1.1",
            f"Content-Length: {len(body)}",
            *(f"{name}: {value}" for name, value in headers),
        ]
        self._writer.write("\r\n".join([*lines, "", ""]).encode("utf-8") + body)
        await self._writer.drain()
        status = 100
        while 100 <= status < 200:
            status, fields, version = await self._head()
        return status, fields, version

    async def _head(self) -> tuple[int, dict[str, str], str]:
        line = await self._line()
        if not line:
            raise EOFError("the server closed the connection")
        version, _, rest = line.partition(" ")
        code = rest[:3]
        if not version.startswith("HTTP/") or not code.isdigit():
            raise ProtocolError("the answer is not HTTP")
        fields: dict[str, str] = {}
        for _ in range(MAX_HEADERS):
            if not (line := await self._line()):
                return int(code), fields, version
            name, _, value = line.partition(":")
            fields[name.strip().lower()] = value.strip()
        raise ProtocolError("the answer has too many headers")

    async def _line(self) -> str:
        try:
            return (await self._reader.readline()).decode("latin-1").rstrip("\r\n")
        except ValueError:
            raise ProtocolError("the answer has a line that is too long") from None

    async def _body(self, status: int, fields: dict[str, str]) -> tuple[bytes, bool]:
        """The body and whether the connection stands at its end."""
        if status in (204, 304):
            return b"", True
        if "chunked" in fields.get("transfer-encoding", "").lower():
            return await self._chunks()
        if "content-length" in fields:
            try:
                length = int(fields["content-length"])
            except ValueError:
                raise ProtocolError("the answer's length is not a number") from None
            if length > self._max_body:
                return await self._reader.readexactly(self._max_body), False
            return await self._reader.readexactly(max(0, length)), True
        return await self._reader.read(self._max_body), False

    async def _pieces(self, chunked: bool) -> AsyncGenerator[bytes, None]:
        if not chunked:
            while data := await self._reader.read(65536):
                yield data
            return
        while left := await self._chunk_size():
            while left:
                data = await self._reader.read(min(left, 65536))
                if not data:
                    raise EOFError("the server closed the connection in the middle of a chunk")
                left -= len(data)
                yield data
            await self._line()

    async def _chunk_size(self) -> int:
        try:
            return int((await self._line()).partition(";")[0], 16)
        except ValueError:
            raise ProtocolError("the answer's chunks are malformed") from None

    async def _chunks(self) -> tuple[bytes, bool]:
        body = b""
        while True:
            size = await self._chunk_size()
            if size == 0:
                while await self._line():
                    pass
                return body, True
            if len(body) + size > self._max_body:
                return body, False
            body += await self._reader.readexactly(size)
            await self._line()
