"""Input `tcp`: JSON values or lines from any client that connects. TCP has no acknowledgement of its own to send."""

from dataclasses import dataclass

from agent.engine.config import included
from agent.engine.listening import STREAM_REFUSED, Connection, StreamOptions
from agent.engine.plugin import Context, Inlet
from agent.engine.raw_input import RawInput, RawOptions
from agent.engine.record import Batch
from agent.engine.registry import inputs


@dataclass(frozen=True, slots=True, kw_only=True)
class TcpConfig(StreamOptions):
    """What the tcp input takes."""

    raw: RawOptions = included(RawOptions)


@inputs.register("tcp", TcpConfig, refused=STREAM_REFUSED)
class Tcp(RawInput):
    """Takes JSON or text over TCP."""

    def __init__(self, config: TcpConfig, context: Context) -> None:
        super().__init__("stream", config, config.raw, context)

    async def run(self, inlet: Inlet) -> None:
        await self.listener.serve(lambda connection: self._serve(connection, inlet))

    async def _serve(self, connection: Connection, inlet: Inlet) -> None:
        splitter, log = self.records.splitter(), self.context.log

        async def take(data: bytes) -> None:
            values, fault = splitter.feed(data)
            if fault:
                log.warning("%s: %s; what follows is left out", connection.peer, fault)
            batch = Batch(self.context.tag, size=len(data))
            self.records.add(batch, values, connection.peer)
            if batch.records:
                await inlet.push(batch)
            if splitter.pending > self.limit:
                log.warning("%s: a record is longer than buffer_size (%d bytes)", connection.peer, self.limit)
                raise EOFError("a record is too long")

        await self.listener.each_chunk(connection, take)
