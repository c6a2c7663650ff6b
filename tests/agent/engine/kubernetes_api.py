"""A Kubernetes API server, or a kubelet, for tests: answers from a table, and keeps what it was asked.

An answer is an object, a status, a watch, or a list of them, of which each is given once and the last for good. What is
watched has `?watch` after its path. `hold` makes every answer wait until it is set again.
"""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any, TypeAlias
from urllib.parse import parse_qsl, urlsplit

Answer: TypeAlias = "dict[str, Any] | int | Watch | list[Any]"

CONTAINER_ID = "0123456789abcdef" * 4


class Watch:
    """A stream of events; `say` adds some, `end` closes the connections that it is on."""

    def __init__(self, *events: dict[str, Any]) -> None:
        self.events = list(events)
        self.is_over = False
        self._changed = asyncio.Event()

    def say(self, *events: dict[str, Any]) -> None:
        self.events += events
        self._changed.set()

    def end(self) -> None:
        self.is_over = True
        self._changed.set()

    async def run(self, writer: asyncio.StreamWriter) -> None:
        sent = 0
        while True:
            self._changed.clear()
            for event in self.events[sent:]:
                line = json.dumps(event).encode() + b"\n"
                for piece in (line[:7], line[7:]):  # events and chunks do not end together
                    writer.write(b"%x\r\n%s\r\n" % (len(piece), piece))
                sent += 1
            await writer.drain()
            if self.is_over:
                writer.write(b"0\r\n\r\n")
                return
            await self._changed.wait()


class FakeKubernetes:
    """Listens on `port` of the loopback; `asked` are the paths with their queries, `tokens` what came with them."""

    def __init__(self) -> None:
        self.answers: dict[str, Answer] = {}
        self.asked: list[tuple[str, dict[str, str]]] = []
        self.tokens: list[str] = []
        self.hold = asyncio.Event()
        self.hold.set()
        self.port = 0
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def paths(self) -> list[str]:
        return [path for path, _ in self.asked]

    @asynccontextmanager
    async def listening(self, tls: ssl.SSLContext | None = None) -> AsyncIterator[FakeKubernetes]:
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=tls)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            server.close()
            serving = list(self._tasks)
            for task in serving:
                task.cancel()
            if serving:
                await asyncio.wait(serving)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            while await self._answer(reader, writer):
                pass
        except (EOFError, ConnectionError, asyncio.CancelledError):
            pass
        finally:
            writer.close()
            with suppress(ConnectionError, ssl.SSLError, asyncio.CancelledError):
                await writer.wait_closed()
            self._tasks.discard(task)

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """One request; whether another may follow."""
        head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        path = urlsplit(head[0].split(" ")[1])
        query = dict(parse_qsl(path.query))
        fields = dict(line.split(": ", 1) for line in head[1:] if line)
        self.asked.append((path.path, query))
        self.tokens.append(fields.get("Authorization", ""))
        await self.hold.wait()
        answer = self.answers.get(path.path + ("?watch" if "watch" in query else ""), 404)
        if isinstance(answer, list):
            answer = answer.pop(0) if len(answer) > 1 else answer[0]
        if isinstance(answer, Watch):
            writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
            await answer.run(writer)
        else:
            status = answer if isinstance(answer, int) else 200
            body = b"{}" if isinstance(answer, int) else json.dumps(answer).encode()
            writer.write(b"HTTP/1.1 %d X\r\nContent-Length: %d\r\n\r\n%s" % (status, len(body), body))
        await writer.drain()
        return fields.get("Connection", "").lower() != "close"


def pod(name: str, namespace: str = "shop", **annotations: str) -> dict[str, Any]:
    """As the API server has it."""
    about = {"name": name, "namespace": namespace, "uid": f"uid of {name}", "labels": {"app": name}}
    return {
        "kind": "Pod",
        "metadata": about | ({"annotations": annotations} if annotations else {}),
        "spec": {"nodeName": "node-1"},
        "status": {
            "podIP": "10.1.2.3",
            "containerStatuses": [
                {"name": "main", "image": "nginx:1", "imageID": "docker.io/nginx@sha256:7", "containerID": "cri-o://x"}
            ],
        },
    }


def file_name(pod_name: str, namespace: str = "shop", container: str = "main") -> str:
    """Of a container's log."""
    return f"{pod_name}_{namespace}_{container}-{CONTAINER_ID}.log"
