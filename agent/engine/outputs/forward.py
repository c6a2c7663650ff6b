"""Output `forward`: sends chunks by Fluentd's forward protocol, over TCP, TLS or a Unix socket.

With `require_ack_response` a chunk is delivered when the peer says so, and tried again when it does not; without, when
the kernel has all of it. A tag that is made of a record's keys makes a message of each record.
"""

import asyncio
import base64
import gzip
import hashlib
import hmac
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from agent.engine.config import BOOLEAN, INTEGER, PAIR, STRING, InvalidProperty, included, option
from agent.engine.msgpack import encode, encode_batch, encode_time, list_head
from agent.engine.msgpack_reader import Scanner, decode, plain
from agent.engine.plugin import Context, Result
from agent.engine.record import NANOSECONDS, Batch, Record
from agent.engine.registry import outputs
from agent.engine.template import needs_record, template
from agent.engine.upstream import REFUSED, ConnectionOptions, Stream, Streams, UnixUpstream, Upstream

_ANSWER_TIMEOUT = 60
_MAX_ANSWER = 65536


@dataclass(frozen=True, slots=True, kw_only=True)
class ForwardConfig:
    """What the forward output takes."""

    host: str = option(STRING, "127.0.0.1", help="the server's name or address")
    port: int = option(INTEGER, 24224, help="the server's port")
    unix_path: str | None = option(STRING, help="socket of a server on this machine, in place of host and port")
    tag: str | None = option(STRING, help="tag to send; $TAG and $key are filled in")
    time_as_integer: bool = option(BOOLEAN, False, help="send whole seconds, for Fluentd before 0.14")
    compress: str = option(STRING, "text", choices=("text", "gzip"), help="compression of the records")
    send_options: bool = option(BOOLEAN, False, help="send the number of records along")
    add_option: tuple[tuple[str, str], ...] = option(PAIR, repeated=True, help="name and value of one more option")
    require_ack_response: bool = option(BOOLEAN, False, help="wait until the server says that it has a chunk")
    shared_key: str | None = option(STRING, help="secret that both sides prove to have")
    empty_shared_key: bool = option(BOOLEAN, False, help="use an empty secret")
    self_hostname: str = option(STRING, "localhost", help="name that this side gives itself")
    username: str = option(STRING, "", help="user, where the server asks for one")
    password: str = option(STRING, "", help="password of the user")
    connection: ConnectionOptions = included(ConnectionOptions)


class ProtocolError(Exception):
    """The peer does not speak the protocol, or refuses us."""


@outputs.register(
    "forward", ForwardConfig, refused=(*REFUSED, "retain_metadata_in_forward_mode", "upstream", "fluentd_compat")
)
class Forward:
    """Sends records to Fluentd, Fluent Bit and whoever speaks their protocol."""

    def __init__(self, config: ForwardConfig, context: Context) -> None:
        self._config = config
        self._log = context.log
        self._key = "" if config.empty_shared_key else config.shared_key
        if self._key is None and (config.username or config.password):
            raise InvalidProperty("username", "needs shared_key or empty_shared_key, which bring the handshake")
        if config.unix_path and config.connection.tls:
            raise InvalidProperty("unix_path", "there is no TLS on a Unix socket")
        try:
            self._tag = template("$TAG" if config.tag is None else config.tag)
        except ValueError as error:
            raise InvalidProperty("tag", str(error)) from None
        self._is_per_record = config.tag is not None and needs_record(config.tag)
        self._is_gzip = config.compress == "gzip"
        if self._is_gzip and (self._is_per_record or config.time_as_integer):
            raise InvalidProperty("compress", "gzip goes neither with a tag of keys nor with time_as_integer")
        upstream = (
            UnixUpstream(config.unix_path, config.connection)
            if config.unix_path
            else Upstream(config.host, config.port, config.connection)
        )
        self._streams = Streams(upstream, self._shake_hands if self._key is not None else None)
        self._has_options = (
            config.send_options or config.require_ack_response or self._is_gzip or bool(config.add_option)
        )

    async def open(self) -> None:
        self._streams.open()

    async def write(self, batch: Batch) -> Result:
        messages = self._messages(batch)
        try:
            async with self._streams.borrowed() as stream:
                for chunk, message in messages:
                    async with asyncio.timeout(_ANSWER_TIMEOUT):
                        stream.writer.write(message)
                        await stream.writer.drain()
                        if chunk is not None:
                            await self._acknowledged(stream, chunk)
        except (OSError, TimeoutError, ProtocolError) as error:
            self._log.error("could not deliver to %s: %s", self._streams, str(error) or type(error).__name__)
            return Result.RETRY
        return Result.OK

    async def close(self) -> None:
        self._streams.close()

    def _messages(self, batch: Batch) -> Iterator[tuple[str | None, bytes]]:
        """Each message with the id that the server shall acknowledge."""
        if not self._is_per_record:
            yield self._chunk(batch)
            return
        parts = (self._record_message(batch, at) for at in range(len(batch)))
        if self._config.require_ack_response:
            yield from parts
        else:
            yield None, b"".join([message for _, message in parts])

    def _chunk(self, batch: Batch) -> tuple[str | None, bytes]:
        config = self._config
        if config.time_as_integer:
            pairs = zip(batch.times, batch.records, strict=True)
            events = b"".join([encode([when // NANOSECONDS, record]) for when, record in pairs])
        else:
            events = encode_batch(batch)
        tag = encode(self._tag(batch.tag, {}))
        packed = encode(gzip.compress(events, 6)) if self._is_gzip else list_head(len(batch)) + events
        if not self._has_options:
            return None, list_head(2) + tag + packed
        chunk, options = self._options(events, len(batch))
        return chunk, list_head(3) + tag + packed + encode(options)

    def _record_message(self, batch: Batch, at: int) -> tuple[str | None, bytes]:
        when, record = batch.times[at], batch.records[at]
        time = encode(when // NANOSECONDS) if self._config.time_as_integer else encode_time(when)
        event = time + encode(record)
        chunk, options = self._options(event, 0)
        if batch.metadata is not None and batch.metadata[at]:
            options["metadata"] = batch.metadata[at]
        return chunk, list_head(4) + encode(self._tag(batch.tag, record)) + event + encode(options)

    def _options(self, events: bytes, count: int) -> tuple[str | None, Record]:
        config = self._config
        options: Record = {}
        chunk = None
        if config.require_ack_response:
            chunk = base64.b64encode(hashlib.sha512(events).digest()[:16]).decode()
            options["chunk"] = chunk
        if count:
            options["size"] = count
        if count and self._is_gzip:
            options["compressed"] = "gzip"
        return chunk, {**options, "fluent_signal": 0, **dict(config.add_option)}

    async def _acknowledged(self, stream: Stream, chunk: str) -> None:
        answer = await _answer(stream)
        if not isinstance(answer, dict) or answer.get(b"ack") != chunk.encode():
            raise ProtocolError("the server acknowledged something else")

    async def _shake_hands(self, stream: Stream) -> None:
        """Proves to the server that we have the secret, and takes its proof. Raises ProtocolError, OSError."""
        async with asyncio.timeout(_ANSWER_TIMEOUT):
            greeting = await _answer(stream)
            if not (isinstance(greeting, list) and len(greeting) > 1 and greeting[0] == b"HELO"):
                raise ProtocolError("the server does not greet; it may want no shared_key")
            about = greeting[1] if isinstance(greeting[1], dict) else {}
            nonce, auth = _raw(about.get(b"nonce")), about.get(b"auth")
            salt, config = secrets.token_hex(8).encode(), self._config
            ping = [
                "PING",
                config.self_hostname,
                salt.decode(),
                self._digest(salt, config.self_hostname.encode(), nonce),
            ]
            if auth is None:
                ping += ["", ""]
            else:
                ping += [config.username, _hex(_raw(auth), config.username.encode(), config.password.encode())]
            stream.writer.write(encode(ping))
            await stream.writer.drain()
            answer = await _answer(stream)
        if not (isinstance(answer, list) and len(answer) == 5 and answer[0] == b"PONG"):
            raise ProtocolError("the server's answer to the handshake is none")
        _, is_taken, reason, hostname, digest = answer
        if is_taken is not True:
            raise ProtocolError(f"the server refuses us: {plain(reason)}")
        if not hmac.compare_digest(self._digest(salt, _raw(hostname), nonce).encode(), _raw(digest)):
            raise ProtocolError("the server has another shared_key")

    def _digest(self, salt: bytes, hostname: bytes, nonce: bytes) -> str:
        return _hex(salt, hostname, nonce, (self._key or "").encode())


async def _answer(stream: Stream) -> Any:
    """The next value that the peer sends, its texts as bytes; it sends one at a time."""
    data, scanner = b"", Scanner(_MAX_ANSWER)
    try:
        while (end := scanner.end(data)) is None:
            if not (more := await stream.reader.read(_MAX_ANSWER)):
                raise ProtocolError("the server closed the connection in place of an answer")
            data += more
        return decode(data[:end], raw=True)[0]
    except ValueError as error:
        raise ProtocolError(f"the server's answer is no MessagePack: {error}") from error


def _raw(value: Any) -> bytes:
    if isinstance(value, bytes):
        return value
    raise ProtocolError("a part of the handshake is missing")


def _hex(*parts: bytes) -> str:
    return hashlib.sha512(b"".join(parts)).hexdigest()
