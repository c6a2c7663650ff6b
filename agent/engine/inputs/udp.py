"""Input `udp`: JSON values or lines in datagrams. A value or line does not go on in the next one."""

from dataclasses import dataclass

from agent.engine.config import included
from agent.engine.listening import DATAGRAM_REFUSED, ListenOptions
from agent.engine.plugin import Context, Inlet
from agent.engine.raw_input import RawInput, RawOptions
from agent.engine.record import Batch
from agent.engine.registry import inputs


@dataclass(frozen=True, slots=True, kw_only=True)
class UdpConfig(ListenOptions):
    """What the udp input takes."""

    raw: RawOptions = included(RawOptions)


@inputs.register("udp", UdpConfig, refused=DATAGRAM_REFUSED)
class Udp(RawInput):
    """Takes JSON or text in UDP datagrams."""

    def __init__(self, config: UdpConfig, context: Context) -> None:
        super().__init__("datagram", config, config.raw, context)

    async def run(self, inlet: Inlet) -> None:
        async def take(datagrams: list[tuple[bytes, str]]) -> None:
            batch = Batch(self.context.tag)
            for data, peer in datagrams:
                values, fault = self.records.splitter().feed(data)
                if fault:
                    self.context.log.warning("%s: %s; the rest of a datagram is left out", peer, fault)
                self.records.add(batch, values, peer)
                batch.size += len(data)
            if batch.records:
                await inlet.push(batch)

        await self.listener.receive(take, self.limit)
