"""Input `tcp`: JSON values or lines from any client that connects. TCP has no acknowledgement of its own to send."""

from dataclasses import dataclass

from agent.engine.listening import STREAM_REFUSED, Connection, Listener, StreamOptions
from agent.engine.plugin import Context, Inlet
from agent.engine.raw_input import RawOptions, RawRecords, checked_limit
from agent.engine.record import Batch
from agent.engine.registry import inputs
from agent.engine.sockets import Address


@dataclass(frozen=True, slots=True, kw_only=True)
class TcpConfig(StreamOptions, RawOptions):
    """What the tcp input takes."""


@inputs.register("tcp", TcpConfig, refused=STREAM_REFUSED)
class Tcp:
    """Takes JSON or text over TCP."""

    def __init__(self, config: TcpConfig, context: Context) -> None:
        self._context = context
        self._limit = checked_limit(config)
        self._records = RawRecords(config, context)
        self.listener = Listener(Address(kind="stream", host=config.listen, port=config.port), config, context)

    @property
    def listens_on(self) -> str | None:
        return self.listener.address.claim

    async def open(self) -> None:
        await self.listener.open()

    async def run(self, inlet: Inlet) -> None:
        await self.listener.serve(lambda connection: self._serve(connection, inlet))

    async def close(self) -> None:
        await self.listener.close()

    async def _serve(self, connection: Connection, inlet: Inlet) -> None:
        splitter, log = self._records.splitter(), self._context.log

        async def take(data: bytes) -> None:
            values, fault = splitter.feed(data)
            if fault:
                log.warning("%s: %s; what follows is left out", connection.peer, fault)
            batch = Batch(self._context.tag, size=len(data))
            self._records.add(batch, values, connection.peer)
            if batch.records:
                await inlet.push(batch)
            if splitter.pending > self._limit:
                log.warning("%s: a record is longer than buffer_size (%d bytes)", connection.peer, self._limit)
                raise EOFError("a record is too long")

        await self.listener.each_chunk(connection, take)
