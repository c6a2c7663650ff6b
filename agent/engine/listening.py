"""How inputs take connections and datagrams: one task for each connection, reading no faster than the engine takes.

A handler that waits for the engine (`inlet.push`) does not read, so a paused input fills the sender's window and no
memory of ours. Whatever a handler raises ends its own connection only.
"""

import asyncio
import socket
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from struct import Struct

from agent.engine.config import BOOLEAN, INTEGER, STRING, TIME, InvalidProperty, option
from agent.engine.plugin import Context, PluginError
from agent.engine.sockets import Address, BoundSocket

READ_SIZE = 65536
_MOST_DATAGRAMS = 256
_MOST_REST = 1_000_000
_PATIENCE = 1.0
_CREDENTIALS = Struct("3i")
_TURNS = 3
"""Turns of the event loop in which what the kernel holds for us gets here."""

STREAM_REFUSED = (
    "net.share_port",
    "net.accept_timeout_log_error",
    "net.keepalive",
    "tls.verify",
    "tls.debug",
    "tls.ca_path",
    "tls.vhost",
    "tls.verify_hostname",
    "tls.min_version",
    "tls.max_version",
    "tls.ciphers",
    "tls.proxy.ca_file",
    "tls.proxy.ca_path",
    "tls.proxy.verify",
    "tls.proxy.verify_hostname",
)
"""Properties of Fluent Bit's listening inputs that are not implemented."""
DATAGRAM_REFUSED = ("net.share_port", "net.accept_timeout_log_error", "net.keepalive")


@dataclass(frozen=True, slots=True, kw_only=True)
class ListenOptions:
    """What every listening input takes."""

    listen: str = option(STRING, "0.0.0.0", help="address to listen on")
    host: str = option(STRING, "localhost", help="taken for compatibility; has no effect, in Fluent Bit neither")
    workers: int = option(INTEGER, 1, help="taken for compatibility; has no effect here")
    backlog: int = option(INTEGER, 128, name="net.backlog", help="connections that may wait to be accepted")
    io_timeout: float = option(TIME, 0, name="net.io_timeout", help="longest silence on a connection; 0 is any")
    accept_timeout: float = option(TIME, 10, name="net.accept_timeout", help="longest TLS handshake")


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamOptions(ListenOptions):
    """What an input that takes connections takes besides."""

    tls: bool = option(BOOLEAN, False, help="use TLS")
    tls_crt_file: str | None = option(STRING, name="tls.crt_file", help="own certificate")
    tls_key_file: str | None = option(STRING, name="tls.key_file", help="own key")
    tls_key_passwd: str | None = option(STRING, name="tls.key_passwd", help="password of the own key")
    tls_ca_file: str | None = option(STRING, name="tls.ca_file", help="file with certificates to trust")
    tls_verify_client: bool = option(
        BOOLEAN, False, name="tls.verify_client_cert", help="take clients with a trusted certificate only"
    )


@dataclass(frozen=True, slots=True)
class Connection:
    """One client; `peer` is its address as `tcp://127.0.0.1:50000`."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    peer: str


class Listening:
    """What every input does that has one address to listen on."""

    listener: "Listener"

    @property
    def listens_on(self) -> str | None:
        return self.listener.address.claim

    async def open(self) -> None:
        await self.listener.open()

    async def close(self) -> None:
        await self.listener.close()


class Listener:
    """One address of one input; used as the input's life goes: `open`, one of the serving methods, `close`."""

    def __init__(
        self, address: Address, options: ListenOptions, context: Context, *, receive_buffer: int = 0, name: str = "port"
    ) -> None:
        if not 0 <= address.port < 65536:
            raise InvalidProperty(name, "expected a port from 1 to 65535, or 0 for any that is free")
        if not 0 < options.backlog < 65536:
            raise InvalidProperty("net.backlog", "expected a number from 1 to 65535")
        if isinstance(options, StreamOptions) and options.tls:
            if not (options.tls_crt_file and options.tls_key_file):
                raise InvalidProperty("tls", "needs 'tls.crt_file' and 'tls.key_file'")
            if options.tls_verify_client and not options.tls_ca_file:
                raise InvalidProperty("tls.verify_client_cert", "needs 'tls.ca_file'")
        self.address = address
        self._options = options
        self._context = context
        self._receive_buffer = receive_buffer
        self._tls: ssl.SSLContext | None = None
        self._bound: BoundSocket | None = None

    @property
    def port(self) -> int:
        """The bound port."""
        assert self._bound is not None
        return self._bound.port

    async def open(self) -> None:
        """Bind, or take the socket over. Raises PluginError that names the address."""
        if isinstance(self._options, StreamOptions) and self._options.tls:
            self._tls = _tls_context(self._options)
        self._bound = self._context.resources.acquire(
            self.address.key(self),
            lambda: BoundSocket(self.address, backlog=self._options.backlog),
        )
        try:
            self._bound.tune(mode=self.address.mode, receive_buffer=self._receive_buffer)
        except PluginError:
            await self.close()
            raise
        shown = self.address if self.address.path else f"{self.address.host}:{self.port}"
        self._context.log.info("listening on %s (%s)", shown, self.address.scheme)

    async def close(self) -> None:
        if self._bound is not None:
            self._bound = None
            self._context.resources.release(self.address.key(self))

    async def serve(
        self,
        handle: Callable[[Connection], Awaitable[None]],
        leave: Callable[[asyncio.StreamWriter], None] = asyncio.StreamWriter.close,
    ) -> None:
        """Handle every connection in a task of its own, until cancelled; `leave` then closes it, now or later."""
        assert self._bound is not None
        loop, bound = asyncio.get_running_loop(), self._bound.socket
        async with asyncio.TaskGroup() as tasks:

            def accept() -> None:
                try:
                    client, _ = bound.accept()
                except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                    return
                except OSError as error:  # no descriptor is free, for one
                    self._context.log.error("a connection cannot be accepted: %s", error)
                    loop.remove_reader(bound)
                    patience.append(loop.call_later(_PATIENCE, loop.add_reader, bound, accept))
                    return
                client.setblocking(False)
                tasks.create_task(self._connected(client, handle, leave), name=f"connection at {self.address}")

            # asyncio's own server loses connections that it accepted right before it is closed.
            patience: list[asyncio.TimerHandle] = []
            loop.add_reader(bound, accept)
            try:
                await asyncio.Event().wait()
            finally:
                for timer in patience:
                    timer.cancel()
                loop.remove_reader(bound)
                for _ in range(_TURNS):  # what is accepted gets to its handler
                    await asyncio.sleep(0)

    async def each_chunk(self, connection: Connection, take: Callable[[bytes], Awaitable[None]]) -> None:
        """Take what a client sends, as it comes; what has arrived when this is cancelled is taken, too."""
        try:
            while data := await self.read(connection):
                await take(data)
        except asyncio.CancelledError:
            await _take_rest(connection.reader, take)
            raise

    async def read(self, connection: Connection) -> bytes:
        """What comes next; empty at the end. Raises TimeoutError after `net.io_timeout` of silence."""
        async with asyncio.timeout(self._options.io_timeout or None):
            return await connection.reader.read(READ_SIZE)

    async def receive(self, take: Callable[[list[tuple[bytes, str]]], Awaitable[None]], size: int) -> None:
        """Take datagrams with their senders, many at once, until cancelled; longer ones are cut at `size`."""
        assert self._bound is not None
        bound = self._bound.socket
        while True:
            await _readable(bound)
            found: list[tuple[bytes, str]] = []
            try:
                while len(found) < _MOST_DATAGRAMS:
                    data, sender = bound.recvfrom(size)
                    found.append((data, self._sender(sender)))
            except (BlockingIOError, InterruptedError):
                pass
            if found:
                await take(found)

    def _sender(self, sender: object) -> str:
        return f"udp://{sender[0]}:{sender[1]}" if isinstance(sender, tuple) else "unix://unavailable"

    async def _connected(
        self,
        client: socket.socket,
        handle: Callable[[Connection], Awaitable[None]],
        leave: Callable[[asyncio.StreamWriter], None],
    ) -> None:
        log, loop = self._context.log, asyncio.get_running_loop()
        reader = asyncio.StreamReader(READ_SIZE)
        protocol = asyncio.StreamReaderProtocol(reader)
        timeout = self._options.accept_timeout or None if self._tls else None
        try:
            transport, _ = await loop.connect_accepted_socket(
                lambda: protocol, client, ssl=self._tls, ssl_handshake_timeout=timeout
            )
        except OSError as error:
            log.error("a connection at %s could not be set up: %s", self.address, error)
            client.close()
            return
        except BaseException:
            client.close()
            raise
        writer = asyncio.StreamWriter(transport, protocol, reader, loop)
        connection = Connection(reader, writer, _peer_of(writer))
        try:
            await handle(connection)
        except (OSError, EOFError, TimeoutError) as error:
            log.debug("%s: the connection is lost: %s", connection.peer, error)
        except Exception:
            log.exception("%s: unexpected error; the connection is closed", connection.peer)
        finally:
            leave(writer)


async def _readable(bound: socket.socket) -> None:
    """Wait until there is something to receive, and leave it there: a wait that is cancelled loses nothing."""
    loop = asyncio.get_running_loop()
    ready = asyncio.Event()
    loop.add_reader(bound, ready.set)
    try:
        await ready.wait()
    finally:
        loop.remove_reader(bound)


async def _take_rest(reader: asyncio.StreamReader, take: Callable[[bytes], Awaitable[None]]) -> None:
    """Take what is there without waiting for more, nor for room in the engine."""
    quiet, left = 0, _MOST_REST
    while quiet < _TURNS and left > 0:
        try:
            async with asyncio.timeout(0):
                data = await reader.read(READ_SIZE)
        except TimeoutError:
            quiet += 1
            continue
        if not data:
            break
        quiet, left = 0, left - len(data)
        last = asyncio.ensure_future(take(data))
        await asyncio.sleep(0)  # it hands over before it first waits
        last.cancel()
        await asyncio.wait([last])


def _peer_of(writer: asyncio.StreamWriter) -> str:
    peer = writer.get_extra_info("peername")
    if isinstance(peer, tuple):
        return f"tcp://{peer[0]}:{peer[1]}"
    connected = writer.get_extra_info("socket")
    pid, _, _ = _CREDENTIALS.unpack(connected.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size))
    return f"unix://pid_{pid}"


def _tls_context(options: StreamOptions) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        context.load_cert_chain(options.tls_crt_file or "", options.tls_key_file, options.tls_key_passwd or "")
        if options.tls_ca_file:
            context.load_verify_locations(options.tls_ca_file)
    except (OSError, ssl.SSLError) as error:
        files = ", ".join(filter(None, (options.tls_crt_file, options.tls_key_file, options.tls_ca_file)))
        raise PluginError(f"TLS cannot be set up with {files}: {error}") from error
    if options.tls_verify_client:
        context.verify_mode = ssl.CERT_REQUIRED
    return context
