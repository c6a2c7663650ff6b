"""Input `udp`: JSON values or lines in datagrams. A value or line does not go on in the next one."""

from dataclasses import dataclass

from agent.engine.listening import DATAGRAM_REFUSED, Listener, ListenOptions
from agent.engine.plugin import Context, Inlet
from agent.engine.raw_input import RawOptions, RawRecords, checked_limit
from agent.engine.record import Batch
from agent.engine.registry import inputs
from agent.engine.sockets import Address


@dataclass(frozen=True, slots=True, kw_only=True)
class UdpConfig(ListenOptions, RawOptions):
    """What the udp input takes."""


@inputs.register("udp", UdpConfig, refused=DATAGRAM_REFUSED)
class Udp:
    """Takes JSON or text in UDP datagrams."""

    def __init__(self, config: UdpConfig, context: Context) -> None:
        self._context = context
        self._limit = checked_limit(config)
        self._records = RawRecords(config, context)
        self.listener = Listener(Address(kind="datagram", host=config.listen, port=config.port), config, context)

    @property
    def listens_on(self) -> str | None:
        return self.listener.address.claim

    async def open(self) -> None:
        await self.listener.open()

    async def run(self, inlet: Inlet) -> None:
        async def take(datagrams: list[tuple[bytes, str]]) -> None:
            batch = Batch(self._context.tag)
            for data, peer in datagrams:
                values, fault = self._records.splitter().feed(data)
                if fault:
                    self._context.log.warning("%s: %s; the rest of a datagram is left out", peer, fault)
                self._records.add(batch, values, peer)
                batch.size += len(data)
            if batch.records:
                await inlet.push(batch)

        await self.listener.receive(take, self._limit)

    async def close(self) -> None:
        await self.listener.close()
