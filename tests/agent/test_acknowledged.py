"""What an engine acknowledged is delivered, through changes and while the output is down: the real Fluent Bit, if any.

Clients send numbered records to each input of the network and repeat each until it is taken; the pipeline posts them on
to a sink that refuses half of the time.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest

from agent.model import Record, Target
from agent.runtimes.fluentbit import FluentBit
from agent.workload import Workload
from headrace.types import Engine
from tests.agent.clients import ACKNOWLEDGING, INPUTS, KINDS, PARSER, clients, read
from tests.agent.conftest import ENVIRONMENT, MakeHost, blob, content
from tests.fluent_bit import FLUENT_BIT, needs_fluent_bit
from tests.processes import eventually

PIPELINE = """
service: {{flush: 0.2, grace: 2, scheduler.base: 1, scheduler.cap: 2}}
pipeline:
  filters:
    - {{name: record_modifier, match: '*', record: generation {generation}}}
  outputs:
    - {{name: http, match: '*', host: 127.0.0.1, port: {sink}, format: json_lines, retry_limit: no_limits}}
  inputs:
"""


@dataclass(slots=True)
class Sink:
    """Where the pipeline posts to; it refuses while it is down."""

    port: int = 0
    is_up: bool = True
    arrived: dict[str, set[int]] = field(default_factory=lambda: {kind: set() for kind in KINDS})

    async def take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One request."""
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
            lines = (await reader.readexactly(length)).decode().splitlines()
            for kind, number in map(read, lines) if self.is_up else ():
                self.arrived[kind].add(number)
            status = b"200 OK" if self.is_up else b"503 Unavailable"
            writer.write(b"HTTP/1.1 " + status + b"\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        except (OSError, EOFError, ValueError):
            pass  # The engine went away in the middle, and comes again.
        finally:
            writer.close()


@asynccontextmanager
async def a_sink() -> AsyncIterator[Sink]:
    sink = Sink()
    server = await asyncio.start_server(sink.take, "127.0.0.1", 0)
    sink.port = server.sockets[0].getsockname()[1]
    try:
        yield sink
    finally:
        server.close()
        await server.wait_closed()


async def through_changes(make_host: MakeHost, changes: int) -> None:
    runtime = await FluentBit.find(Engine.FLUENT_BIT, [FLUENT_BIT], environment=ENVIRONMENT)
    host = make_host({Engine.FLUENT_BIT: runtime})
    workload = Workload(Record(pipeline="p"), host, lambda pipeline: None)
    task = asyncio.create_task(workload.run(), name="workload")
    try:
        async with a_sink() as sink:
            async with clients() as sending:
                ports = {kind: client.port for kind, client in sending.items()}
                for generation in range(1, changes + 1):
                    sink.is_up = generation % 2 == 1
                    text = PARSER + PIPELINE.format(sink=sink.port, generation=generation) + INPUTS.format(**ports)
                    sha256, data = blob(content(text=text))
                    host.state.save_blob(sha256, data)
                    workload.want(Target(generation, sha256))
                    before = {kind: client.taken for kind, client in sending.items()}

                    def runs(generation: int = generation, before: dict[str, int] = before) -> bool:
                        running = workload.observed().running
                        goes_on = all(client.taken > before[kind] + 20 for kind, client in sending.items())
                        return running is not None and running.generation == generation and goes_on

                    await eventually(runs, timeout=60)
            sink.is_up = True
            wanted = {kind: set(range(sending[kind].taken)) for kind in ACKNOWLEDGING}
            await eventually(lambda: all(sink.arrived[kind] >= wanted[kind] for kind in ACKNOWLEDGING), timeout=60)
            for kind, client in sending.items():
                lost = len(set(range(client.taken)) - sink.arrived[kind])
                each = f"{client.refused / changes:.0f} in each change, which is down for {client.down / changes:.2f} s"
                print(f"{client} ({each}); {lost} of what was taken did not arrive")
    finally:
        task.cancel()
        await asyncio.wait((task,))
        await workload.shut_down()


@needs_fluent_bit
async def test_what_was_acknowledged_arrives_through_changes_with_an_output_that_is_down_half_of_the_time(
    make_host: MakeHost,
) -> None:
    await through_changes(make_host, 8)


@pytest.mark.soak
@pytest.mark.timeout(1800)
@needs_fluent_bit
async def test_what_was_acknowledged_arrives_through_a_hundred_changes(make_host: MakeHost) -> None:
    await through_changes(make_host, 100)
