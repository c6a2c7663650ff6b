"""Input `syslog`: messages by UDP, TCP or a socket in the file system, each read by a parser of the user's.

Over a stream a message ends with a line feed or a zero byte, or is counted (RFC 6587). A datagram is one message. What
the parser does not take is reported and left out, as Fluent Bit does.
"""

from dataclasses import dataclass
from typing import Any

from agent.engine.config import INTEGER, SIZE, STRING, InvalidProperty, option
from agent.engine.listening import STREAM_REFUSED, Connection, Listener, Listening, StreamOptions
from agent.engine.payload import CountedSplitter, Splitter, TextSplitter
from agent.engine.plugin import Context, Inlet
from agent.engine.record import Batch
from agent.engine.registry import inputs
from agent.engine.sockets import PERMISSIONS, Address

_MODES = ("unix_tcp", "unix_udp", "tcp", "udp")
_FRAMES = ("newline", "octet_counting", "octet")


@dataclass(frozen=True, slots=True, kw_only=True)
class SyslogConfig(StreamOptions):
    """What the syslog input takes."""

    mode: str = option(STRING, "unix_udp", choices=_MODES, help="what messages come by")
    port: int = option(INTEGER, 5140, help="port to listen on, in modes tcp and udp")
    path: str | None = option(STRING, help="path of the socket, in modes unix_tcp and unix_udp")
    unix_perm: int = option(PERMISSIONS, 0o644, help="permissions of that socket, as octal digits")
    parser: str | None = option(
        STRING, help="parser of a message; syslog-rfc5424 in modes tcp and udp, else syslog-rfc3164-local"
    )
    format: str = option(STRING, "newline", choices=_FRAMES, help="how a message ends in a stream")
    buffer_chunk_size: int = option(SIZE, 32768, help="longest datagram")
    buffer_max_size: int | None = option(SIZE, help="longest message in a stream; as buffer_chunk_size unless given")
    receive_buffer_size: int = option(SIZE, 0, help="size of the socket's own buffer; 0 leaves it to the system")
    raw_message_key: str | None = option(STRING, help="key for the message as it came")
    source_address_key: str | None = option(STRING, help="key for the sender's address")


@inputs.register("syslog", SyslogConfig, refused=STREAM_REFUSED)
class Syslog(Listening):
    """Takes syslog messages."""

    def __init__(self, config: SyslogConfig, context: Context) -> None:
        is_local, self._is_stream = config.mode.startswith("unix"), config.mode.endswith("tcp")
        if is_local and not config.path:
            raise InvalidProperty("path", f"mode {config.mode} needs the path of a socket")
        for name in ("buffer_chunk_size", "receive_buffer_size"):
            if getattr(config, name) < (1 if name == "buffer_chunk_size" else 0):
                raise InvalidProperty(name, f"{getattr(config, name)} is too small")
        if config.tls and not self._is_stream:
            raise InvalidProperty("tls", f"mode {config.mode} has no TLS")
        self._config = config
        self._context = context
        self._parser_name = config.parser or ("syslog-rfc3164-local" if is_local else "syslog-rfc5424")
        self._parser = context.parser("parser", self._parser_name)
        self._limit = config.buffer_max_size or config.buffer_chunk_size
        self.listener = Listener(
            Address(
                kind="stream" if self._is_stream else "datagram",
                host="" if is_local else config.listen,
                port=0 if is_local else config.port,
                path=config.path or "" if is_local else "",
                mode=config.unix_perm,
            ),
            config,
            context,
            receive_buffer=config.receive_buffer_size,
        )

    async def run(self, inlet: Inlet) -> None:
        if self._is_stream:
            await self.listener.serve(lambda connection: self._serve(connection, inlet))
        else:
            await self.listener.receive(lambda found: self._push(found, inlet), self._config.buffer_chunk_size)

    async def _serve(self, connection: Connection, inlet: Inlet) -> None:
        splitter: Splitter = (
            TextSplitter(b"\n", b"\0") if self._config.format == "newline" else CountedSplitter(self._limit)
        )

        async def take(data: bytes) -> None:
            messages, fault = splitter.feed(data)
            await self._push([(message, connection.peer) for message in messages], inlet)
            if splitter.pending > self._limit:
                fault = f"a message is longer than the buffer ({self._limit} bytes)"
            if fault:
                self._context.log.warning("%s: %s; the connection is closed", connection.peer, fault)
                raise EOFError(fault)

        await self.listener.each_chunk(connection, take)

    async def _push(self, messages: list[tuple[bytes, str]], inlet: Inlet) -> None:
        now, config = self._context.clock(), self._config
        batch = Batch(self._context.tag)
        for message, peer in messages:
            if not message:
                continue
            parsed = self._parser.parse(message)
            if parsed is None:
                self._context.log.warning(
                    "%s: parser %r does not take a message of %d bytes", peer, self._parser_name, len(message)
                )
                continue
            when, record = parsed
            added: dict[str, Any] = {}
            if config.raw_message_key is not None:
                added[config.raw_message_key] = message.decode("utf-8", "replace")
            if config.source_address_key is not None:
                added[config.source_address_key] = peer
            batch.times.append(when or now)
            batch.records.append({**record, **added})
            batch.size += len(message)
        if batch.records:
            await inlet.push(batch)
