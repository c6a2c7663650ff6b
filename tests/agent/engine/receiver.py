"""A receiver of the forward protocol for tests, written from its specification and independent of the engine.

https://github.com/fluent/fluentd/wiki/Forward-Protocol-Specification-v1
"""

from __future__ import annotations

import asyncio
import gzip
import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgpack


class Receiver:
    """Keeps the events that it is sent as (tag, seconds, record) and acknowledges what asks for it.

    With `key` it asks for the handshake, and with `users` for one of them.
    """

    def __init__(self, *, key: str | None = None, users: dict[str, str] | None = None) -> None:
        self.key, self.users = key, users
        self.events: list[tuple[str, float, dict[str, Any]]] = []
        self.options: list[dict[str, Any]] = []
        self.connections = 0
        self.handshakes = 0
        self.acknowledges = True
        self.ack: Any = None
        """Said in place of the right acknowledgement."""
        self.proof = ""
        """Given in place of the right digest."""
        self.port = 0
        self._peers: list[tuple[asyncio.Task[None], asyncio.StreamWriter]] = []

    @asynccontextmanager
    async def listening(self, path: Path | None = None) -> AsyncIterator[Receiver]:
        if path is not None:
            server = await asyncio.start_unix_server(self._serve, path)
        else:
            server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
            self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            server.close()
            for _, writer in self._peers:
                writer.close()
            await asyncio.gather(*(task for task, _ in self._peers))

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._peers.append((task, writer))
        self.connections += 1
        unpacker = msgpack.Unpacker(strict_map_key=False, unicode_errors="surrogateescape")
        try:
            if self.key is None or await self._shake_hands(reader, writer, unpacker):
                while True:
                    self._take(await self._next(reader, unpacker), writer)
                    if not self.acknowledges:
                        break
        except (EOFError, ConnectionError):
            pass
        finally:
            writer.close()

    async def _next(self, reader: asyncio.StreamReader, unpacker: msgpack.Unpacker) -> Any:
        while True:
            try:
                return next(unpacker)
            except StopIteration:
                if not (data := await reader.read(65536)):
                    raise EOFError from None
                unpacker.feed(data)

    async def _shake_hands(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, unpacker: msgpack.Unpacker
    ) -> bool:
        nonce, auth, key = b"nonce of 16 byte", b"salt" if self.users else b"", (self.key or "").encode()
        writer.write(msgpack.packb(["HELO", {"nonce": nonce, "auth": auth, "keepalive": True}]))
        kind, hostname, salt, digest, username, password = await self._next(reader, unpacker)
        assert kind == "PING"
        salt = salt if isinstance(salt, bytes) else salt.encode("utf-8", "surrogateescape")
        reason = "" if digest == _digest(salt, hostname.encode(), nonce, key) else "shared_key mismatch"
        if (
            not reason
            and self.users
            and password != _digest(auth, username.encode(), self.users.get(username, "?").encode())
        ):
            reason = "username/password mismatch"
        proof = self.proof or _digest(salt, b"receiver", nonce, key)
        writer.write(msgpack.packb(["PONG", not reason, reason, "receiver", proof if not reason else ""]))
        self.handshakes += not reason
        return not reason

    def _take(self, message: list[Any], writer: asyncio.StreamWriter) -> None:
        tag, second, *rest = message
        options: dict[str, Any] = {}
        if isinstance(second, list):  # Forward
            events, options = second, rest[0] if rest else {}
        elif isinstance(second, bytes):  # PackedForward and CompressedPackedForward
            options = rest[0] if rest else {}
            data = gzip.decompress(second) if options.get("compressed") == "gzip" else second
            unpacker = msgpack.Unpacker(strict_map_key=False)
            unpacker.feed(data)
            events = list(unpacker)
        else:  # Message
            events, options = [[second, rest[0]]], rest[1] if len(rest) > 1 else {}
        self.options.append(options)
        self.events += [(tag, _seconds(head), record) for head, record in events]
        if "chunk" in options and self.acknowledges:
            writer.write(msgpack.packb(self.ack if self.ack is not None else {"ack": options["chunk"]}))


def _digest(*parts: bytes) -> str:
    return hashlib.sha512(b"".join(parts)).hexdigest()


def _seconds(head: Any) -> float:
    when = head[0] if isinstance(head, list) else head
    if isinstance(when, msgpack.ExtType):
        assert when.code == 0
        return int.from_bytes(when.data[:4], "big") + int.from_bytes(when.data[4:], "big") / 10**9
    return float(when)
