"""Clients of an engine's network inputs that try again: numbered records, each on a connection of its own.

`http` and `forward` are told that a record is taken. `tcp` and `syslog` are told nothing: there a record counts as sent
when the engine has read the connection to its end and closed it in order.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import msgpack

from tests.servers import free_port

KINDS = ("http", "forward", "tcp", "syslog")
ACKNOWLEDGING = ("http", "forward")
INPUTS = """\
    - {{name: http, tag: http, listen: 127.0.0.1, port: {http}}}
    - {{name: forward, tag: forward, listen: 127.0.0.1, port: {forward}}}
    - {{name: tcp, tag: tcp, listen: 127.0.0.1, port: {tcp}, format: json}}
    - {{name: syslog, tag: syslog, mode: tcp, listen: 127.0.0.1, port: {syslog}, parser: syslog-of-tests}}
"""
PARSER = """\
parsers:
  - {name: syslog-of-tests, format: regex, regex: '^<14>1 (?<client>[a-z]+) (?<n>[0-9]+)$', types: 'n:integer'}
"""


def read(line: str) -> tuple[str, int]:
    """Whose record a line of JSON is, and its number."""
    record = json.loads(line)
    return record["client"], int(record["n"])


@dataclass(slots=True)
class Client:
    """`taken` records were sent one after the other; `refused` of `attempts` failed and were repeated.

    `down` is the seconds from the first failure of each record to its success.
    """

    kind: str
    port: int = field(default_factory=free_port)
    is_over: bool = False
    taken: int = 0
    attempts: int = 0
    refused: int = 0
    down: float = 0.0

    def __str__(self) -> str:
        return f"{self.kind}: {self.taken} taken, {self.refused} of {self.attempts} connections refused"

    async def run(self) -> None:
        failed: float | None = None
        while not self.is_over:
            started = time.monotonic()
            self.attempts += 1
            try:
                async with asyncio.timeout(5):
                    reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
                    try:
                        is_taken = await _SEND[self.kind](reader, writer, {"client": self.kind, "n": self.taken})
                    finally:
                        writer.close()
            except (OSError, EOFError, TimeoutError):
                is_taken = False
            if is_taken:
                self.taken += 1
                self.down += time.monotonic() - failed if failed is not None else 0.0
                failed = None
            else:
                self.refused += 1
                failed = started if failed is None else failed
                await asyncio.sleep(0.01)


async def _http(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, record: Any) -> bool:
    body = json.dumps(record).encode()
    head = f"POST /http HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n"
    writer.write(head.encode() + b"Connection: close\r\n\r\n" + body)
    return (await reader.readline()).split()[1:2] == [b"201"]


async def _forward(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, record: Any) -> bool:
    chunk = str(record["n"])
    writer.write(msgpack.packb(["forward", [[1_772_359_200, record]], {"chunk": chunk}]))
    return bool(msgpack.unpackb(await reader.readexactly(len(msgpack.packb({"ack": chunk})))) == {"ack": chunk})


async def _tcp(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, record: Any) -> bool:
    return await _text(reader, writer, json.dumps(record))


async def _syslog(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, record: Any) -> bool:
    return await _text(reader, writer, f"<14>1 syslog {record['n']}")


async def _text(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, line: str) -> bool:
    writer.write(line.encode() + b"\n")
    writer.write_eof()
    return await reader.read() == b""


_SEND = {"http": _http, "forward": _forward, "tcp": _tcp, "syslog": _syslog}


@asynccontextmanager
async def clients(kinds: Iterable[str] = KINDS) -> AsyncIterator[dict[str, Client]]:
    """One of each kind, which sends until the block ends."""
    all_of = {kind: Client(kind) for kind in kinds}
    tasks = [asyncio.create_task(client.run(), name=f"{kind} client") for kind, client in all_of.items()]
    try:
        yield all_of
    finally:
        for client in all_of.values():
            client.is_over = True
        await asyncio.wait(tasks)
        for task in tasks:
            task.result()
