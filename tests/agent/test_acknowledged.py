"""What an engine acknowledged is delivered, through changes and while the output is down: the real Fluent Bit, if any.

A client posts numbered records to an `http` input and repeats each until it is acknowledged; the pipeline posts them on
to a sink that refuses half of the time.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest

from agent.model import Record, Target
from agent.runtimes.fluentbit import FluentBit
from agent.runtimes.ports import free_port
from agent.workload import Workload
from headrace.types import Engine
from tests.agent.conftest import ENVIRONMENT, MakeHost, blob, content
from tests.agent.runtimes.test_contract import REAL
from tests.processes import eventually

PIPELINE = """\
service: {{flush: 0.2, grace: 2, scheduler.base: 1, scheduler.cap: 2}}
pipeline:
  inputs:
    - {{name: http, tag: posted, listen: 127.0.0.1, port: {source}}}
  filters:
    - {{name: record_modifier, match: '*', record: generation {generation}}}
  outputs:
    - {{name: http, match: '*', host: 127.0.0.1, port: {sink}, format: json_lines, retry_limit: no_limits}}
"""


@dataclass(slots=True)
class Traffic:
    """What was acknowledged and what arrived; `refused` counts the posts that had to be repeated."""

    source: int
    sink: int = 0
    is_up: bool = True
    is_over: bool = False
    acknowledged: int = 0
    refused: int = 0
    arrived: set[int] = field(default_factory=set)

    async def post(self) -> None:
        """One record after the other, each until it is acknowledged."""
        while not self.is_over:
            body = json.dumps({"n": self.acknowledged}).encode()
            if await self._is_acknowledged(body):
                self.acknowledged += 1
            else:
                self.refused += 1
                await asyncio.sleep(0.01)

    async def _is_acknowledged(self, body: bytes) -> bool:
        head = f"POST /posted HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n"
        try:
            async with asyncio.timeout(5):
                reader, writer = await asyncio.open_connection("127.0.0.1", self.source)
                try:
                    writer.write(head.encode() + b"Connection: close\r\n\r\n" + body)
                    return (await reader.readline()).split()[1:2] == [b"201"]
                finally:
                    writer.close()
        except (OSError, TimeoutError):
            return False

    async def take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """The sink, for one request."""
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
            lines = (await reader.readexactly(length)).splitlines()
            if self.is_up:
                self.arrived |= {json.loads(line)["n"] for line in lines}
            status = b"200 OK" if self.is_up else b"503 Unavailable"
            writer.write(b"HTTP/1.1 " + status + b"\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        except (OSError, EOFError, ValueError):
            pass  # The engine went away in the middle, and comes again.
        finally:
            writer.close()


@asynccontextmanager
async def traffic() -> AsyncIterator[Traffic]:
    traffic = Traffic(free_port())
    server = await asyncio.start_server(traffic.take, "127.0.0.1", 0)
    traffic.sink = server.sockets[0].getsockname()[1]
    client = asyncio.create_task(traffic.post(), name="client")
    try:
        yield traffic
    finally:
        traffic.is_over = True
        await client
        server.close()
        await server.wait_closed()


async def through_changes(make_host: MakeHost, changes: int) -> None:
    runtime = await FluentBit.find(Engine.FLUENT_BIT, [str(REAL)], environment=ENVIRONMENT)
    host = make_host({Engine.FLUENT_BIT: runtime})
    workload = Workload(Record(pipeline="p"), host, lambda pipeline: None)
    task = asyncio.create_task(workload.run(), name="workload")
    try:
        async with traffic() as at:
            for generation in range(1, changes + 1):
                at.is_up = generation % 2 == 1
                text = PIPELINE.format(source=at.source, sink=at.sink, generation=generation)
                sha256, data = blob(content(text=text))
                host.state.save_blob(sha256, data)
                workload.want(Target(generation, sha256))
                before = at.acknowledged

                def runs(generation: int = generation, before: int = before) -> bool:
                    running = workload.observed().running
                    return running is not None and running.generation == generation and at.acknowledged > before + 20

                await eventually(runs, timeout=60)
            at.is_up = at.is_over = True
            await eventually(lambda: at.arrived >= set(range(at.acknowledged)), timeout=60)
            print(
                f"{at.acknowledged} acknowledged, {at.refused} posts refused, {at.refused / changes:.0f} in each change"
            )
    finally:
        task.cancel()
        await asyncio.wait((task,))
        await workload.shut_down()


@pytest.mark.skipif(not REAL, reason="no Fluent Bit: name one by FLUENT_BIT_BIN")
async def test_what_was_acknowledged_arrives_through_changes_with_an_output_that_is_down_half_of_the_time(
    make_host: MakeHost,
) -> None:
    await through_changes(make_host, 8)


@pytest.mark.soak
@pytest.mark.timeout(1800)
@pytest.mark.skipif(not REAL, reason="no Fluent Bit: name one by FLUENT_BIT_BIN")
async def test_what_was_acknowledged_arrives_through_a_hundred_changes(make_host: MakeHost) -> None:
    await through_changes(make_host, 100)
