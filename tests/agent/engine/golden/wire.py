"""What outputs send over the network: what a real Fluent Bit sent, kept in `sent/`, and what this engine sends.

Both talk to the same small server. A case (`name`, `properties`, `records` of `[time, record]`, the server's `answers`)
is written by hand; its `sent` is not: with FLUENT_BIT_BIN set,

    python -m tests.agent.engine.golden.wire splunk

runs Fluent Bit on each case of `sent/splunk.json` and writes down what it sent.
"""

from __future__ import annotations

import asyncio
import gzip
import json
import os
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import msgpack

from agent.engine.plugin import Result
from agent.engine.record import Batch
from agent.engine.registry import outputs
from tests.agent.engine.conftest import PluginKit
from tests.processes import Program, eventually

FOLDER = Path(__file__).parent / "sent"
TAG = "app.web"


class Listener:
    """Takes what outputs send: HTTP requests, or (`raw`) bytes until the connection ends."""

    def __init__(self, answers: list[dict[str, Any]], *, raw: bool) -> None:
        self.answers = answers
        self.raw = raw
        self.sent: list[Any] = []
        self.port = 0
        self._peers: list[tuple[asyncio.Task[None], asyncio.StreamWriter]] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._peers.append((task, writer))
        try:
            if self.raw:
                self.sent.append(shown(await reader.read(-1)))
                return
            while True:
                self.sent.append(await self._request(reader))
                answer = self.answers[min(len(self.sent), len(self.answers)) - 1] if self.answers else {}
                body = answer.get("body", "").encode()
                writer.write(
                    f"HTTP/1.1 {answer.get('status', 200)} X\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body
                )
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    async def _request(self, reader: asyncio.StreamReader) -> dict[str, Any]:
        first, *lines = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        headers = dict(line.split(": ", 1) for line in lines if line)
        body = await reader.readexactly(int(headers.pop("Content-Length")))
        headers.pop("Connection", None)  # says what HTTP/1.1 takes for granted
        headers["Host"] = headers["Host"].replace(str(self.port), "PORT")
        return {"request": first, "headers": dict(sorted(headers.items())), "body": shown(body)}

    @property
    def is_connected(self) -> bool:
        return bool(self._peers)

    async def end(self) -> None:
        for _, writer in self._peers:
            writer.close()
        await asyncio.gather(*(task for task, _ in self._peers))


def shown(data: bytes) -> Any:
    """Bytes as JSON can hold them: text where they are, uncompressed where they are gzip; MessagePack as its values."""
    data = gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data
    try:
        return data.decode()
    except UnicodeDecodeError:
        return {"msgpack": [_plain(value) for value in unpacked(data)]}


def unpacked(data: bytes) -> list[Any]:
    """The values of MessagePack data, whose maps may be written in several ways."""
    unpacker = msgpack.Unpacker(strict_map_key=False)
    unpacker.feed(data)
    return list(unpacker)


def _plain(value: Any) -> Any:
    match value:
        case msgpack.ExtType():
            return {f"ext {value.code}": value.data.hex()}
        case bytes():
            return {"bytes": shown(value)}
        case dict():
            return {key: _plain(item) for key, item in value.items()}
        case list():
            return [_plain(item) for item in value]
        case _:
            return value


@asynccontextmanager
async def listening(answers: list[dict[str, Any]], *, raw: bool) -> AsyncIterator[Listener]:
    listener = Listener(answers, raw=raw)
    server = await asyncio.start_server(listener.serve, "127.0.0.1", 0)
    listener.port = server.sockets[0].getsockname()[1]
    try:
        yield listener
    finally:
        server.close()
        await listener.end()


def batch_of(case: dict[str, Any]) -> Batch:
    """The case's records, with times in nanoseconds."""
    since = (datetime.fromisoformat(when) - datetime(1970, 1, 1) for when, _ in case["records"])
    times = [one // timedelta(microseconds=1) * 1000 for one in since]
    return Batch(TAG, times, [record for _, record in case["records"]])


async def delivered(
    name: str,
    batches: list[Batch],
    plugins: PluginKit,
    *,
    answers: list[dict[str, Any]] | None = None,
    raw: bool = False,
    **properties: Any,
) -> tuple[list[Result], list[Any]]:
    """What became of the batches, written one after another, and what the server got."""
    async with listening(answers or [], raw=raw) as listener:
        plugin = plugins.make(outputs, name, host="127.0.0.1", port=listener.port, **properties)
        await plugin.open()
        try:
            results = [await plugin.write(batch) for batch in batches]
        finally:
            await plugin.close()
        if raw:
            await eventually(lambda: listener.sent, what="the connection ends")
        return results, listener.sent


async def sent_by_this_engine(name: str, case: dict[str, Any], plugins: PluginKit, *, raw: bool) -> list[Any]:
    """What the plugin sends for the case."""
    properties = {key.replace(".", "__"): value for key, value in case["properties"].items()}
    answers = case.get("answers")
    _, sent = await delivered(name, [batch_of(case)], plugins, answers=answers, raw=raw, **properties)
    return sent


async def sent_by_fluent_bit(name: str, case: dict[str, Any], binary: str, folder: Path, *, raw: bool) -> list[Any]:
    """What a real Fluent Bit sends for the case."""
    lines = (json.dumps({"t": when, **record}, ensure_ascii=False) for when, record in case["records"])
    (folder / "in.log").write_text("".join(line + "\n" for line in lines))
    async with listening(case.get("answers", []), raw=raw) as listener:
        parser = {"name": "t", "format": "json", "time_key": "t", "time_format": "%Y-%m-%dT%H:%M:%S.%L"}
        source = {"name": "tail", "path": "in.log", "read_from_head": True, "parser": "t", "tag": TAG}
        sink = {"name": name, "match": "*", "host": "127.0.0.1", "port": listener.port, **case["properties"]}
        service = {"flush": 0.2, "grace": 1, "log_level": "info"}
        document = {"service": service, "parsers": [parser], "pipeline": {"inputs": [source], "outputs": [sink]}}
        (folder / "p.yaml").write_text(json.dumps(document))
        with Program([binary, "-c", folder / "p.yaml"], folder=folder, name="fluent-bit") as program:
            await asyncio.to_thread(program.wait_for, lambda: listener.sent or (raw and listener.is_connected))
            await asyncio.to_thread(program.stop)
        if raw:
            await eventually(lambda: listener.sent, what="the connection ends")
        return listener.sent


def cases(name: str) -> dict[str, Any]:
    """The file of a plugin: `cases`, and `raw` where it does not speak HTTP."""
    document: dict[str, Any] = json.loads((FOLDER / f"{name}.json").read_text())
    return document


async def record(name: str, binary: str) -> None:
    """Writes down what Fluent Bit sends in each case of a plugin."""
    document = cases(name)
    for case in document["cases"]:
        with tempfile.TemporaryDirectory() as folder:
            case["sent"] = await sent_by_fluent_bit(name, case, binary, Path(folder), raw=document.get("raw", False))
    (FOLDER / f"{name}.json").write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    for plugin_name in sys.argv[1:]:
        asyncio.run(record(plugin_name, os.environ["FLUENT_BIT_BIN"]))
