"""Input `forward`: records from Fluentd, Fluent Bit, Docker and the fluent-logger libraries, in all modes.

A chunk that its sender waits for is acknowledged when the engine has answered for its records: delivered, or dropped by
an output's own limit, or on disk (`storage.type: filesystem`). So a sender that repeats what was not acknowledged loses
nothing, whatever happens here, and may send some twice. A connection stays open for the acknowledgements that it waits
for, also when a reload or stop ends the input.
"""

import asyncio
import secrets
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from agent.engine.config import BOOLEAN, INTEGER, PAIR, SIZE, STRING, InvalidProperty, option
from agent.engine.forward_protocol import NONCE_SIZE, Handshake, acknowledgement, read_message
from agent.engine.listening import STREAM_REFUSED, Connection, Listener, Listening, StreamOptions
from agent.engine.msgpack_reader import Scanner
from agent.engine.plugin import Context, Inlet
from agent.engine.registry import inputs
from agent.engine.sockets import PERMISSIONS, Address

_LONGEST_PING = 8192
_MOST_WAITING = 1000
"""Chunks of one connection that wait for their acknowledgement; then it is not read on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ForwardConfig(StreamOptions):
    """What the forward input takes."""

    port: int = option(INTEGER, 24224, help="port to listen on")
    unix_path: str | None = option(STRING, help="path of a socket to listen on in place of a port")
    unix_perm: int = option(PERMISSIONS, 0o644, help="permissions of that socket, as octal digits")
    tag_prefix: str | None = option(STRING, help="what is put before the sender's tag, in place of an own tag")
    shared_key: str | None = option(STRING, help="key that a sender has to know")
    empty_shared_key: bool = option(BOOLEAN, False, help="ask for the handshake with an empty key")
    self_hostname: str = option(STRING, "localhost", help="own name in the handshake")
    users: tuple[tuple[str, str], ...] = option(
        PAIR, name="security.users", repeated=True, help="a user and its password, of which a sender has to know one"
    )
    buffer_chunk_size: int = option(SIZE, 1_024_000, help="taken for compatibility; has no effect here")
    buffer_max_size: int = option(SIZE, 6_144_000, help="longest message, and longest content of a compressed one")


@inputs.register("forward", ForwardConfig, refused=STREAM_REFUSED)
class Forward(Listening):
    """Takes records by Fluentd's protocol."""

    def __init__(self, config: ForwardConfig, context: Context) -> None:
        self._key = "" if config.empty_shared_key and config.shared_key is None else config.shared_key
        if config.users and self._key is None:
            raise InvalidProperty("security.users", "needs 'shared_key', or 'empty_shared_key' on")
        if config.buffer_max_size < 1:
            raise InvalidProperty("buffer_max_size", f"{config.buffer_max_size} is too small")
        self._config = config
        self._context = context
        self._waiting: Counter[asyncio.StreamWriter] = Counter()
        self._left: set[asyncio.StreamWriter] = set()
        self._answered = asyncio.Event()
        path = config.unix_path or ""
        self.listener = Listener(
            Address(
                kind="stream",
                host="" if path else config.listen,
                port=0 if path else config.port,
                path=path,
                mode=config.unix_perm,
            ),
            config,
            context,
        )

    async def run(self, inlet: Inlet) -> None:
        await self.listener.serve(lambda connection: self._serve(connection, inlet), self._leave)

    async def close(self) -> None:
        for writer in self._left:
            writer.close()
        self._left.clear()
        await super().close()

    async def _serve(self, connection: Connection, inlet: Inlet) -> None:
        buffer = bytearray()
        try:
            if self._key is not None:
                async with asyncio.timeout(self._config.accept_timeout or None):
                    await self._shake_hands(connection, self._key, buffer)
            limit = self._config.buffer_max_size
            while (data := await self._next(connection, buffer, limit)) is not None:
                await self._take(data, connection.writer, inlet)
        except ValueError as error:
            self._context.log.warning("%s: %s; the connection is closed", connection.peer, error)

    async def _next(self, connection: Connection, buffer: bytearray, limit: int) -> bytes | None:
        """The bytes of the next message; `buffer` keeps what came after it."""
        scanner = Scanner(limit)
        while (end := scanner.end(buffer)) is None:
            data = await self.listener.read(connection)
            if not data:
                return None
            buffer += data
        message = bytes(buffer[:end])
        del buffer[:end]
        return message

    async def _take(self, data: bytes, writer: asyncio.StreamWriter, inlet: Inlet) -> None:
        message = read_message(data, self._config.buffer_max_size)
        batch = message.batch
        if self._config.tag_prefix is not None:
            batch.tag = self._config.tag_prefix + batch.tag
        elif self._context.tag_given:
            batch.tag = self._context.tag
        if message.chunk is None:
            if batch.records:
                await inlet.push(batch)
            return
        while self._waiting[writer] >= _MOST_WAITING:
            self._answered.clear()
            await self._answered.wait()
        self._waiting[writer] += 1
        await inlet.push(batch, self._answer(writer, message.chunk))

    def _answer(self, writer: asyncio.StreamWriter, chunk: str) -> Callable[[], None]:
        def answer() -> None:
            if not writer.is_closing():
                writer.write(acknowledgement(chunk))
            self._waiting[writer] -= 1
            self._answered.set()
            if not self._waiting[writer]:
                del self._waiting[writer]
                if writer in self._left:
                    self._left.remove(writer)
                    writer.close()

        return answer

    def _leave(self, writer: asyncio.StreamWriter) -> None:
        """The connection is read no more, but may have to hear of chunks."""
        if self._waiting[writer]:
            self._left.add(writer)
        else:
            del self._waiting[writer]
            writer.close()

    async def _shake_hands(self, connection: Connection, key: str, buffer: bytearray) -> None:
        handshake = Handshake(
            shared_key=key,
            hostname=self._config.self_hostname,
            users=self._config.users,
            nonce=secrets.token_bytes(NONCE_SIZE),
            salt=secrets.token_bytes(NONCE_SIZE),
        )
        connection.writer.write(handshake.helo())
        ping = await self._next(connection, buffer, _LONGEST_PING)
        if ping is None:
            raise EOFError("the client left during the handshake")
        pong, why = handshake.answer(ping)
        connection.writer.write(pong)
        await connection.writer.drain()
        if why:
            raise ValueError(f"the handshake failed: {why}")
