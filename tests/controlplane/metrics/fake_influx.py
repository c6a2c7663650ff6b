"""A server that answers as InfluxDB 2.x and 3.x do, by their public API: who may write, what is refused, and how.

It takes lines of the measurements that are not `refused`, keeps them by (series, time), and answers what is put into
`script` first: (status, headers, body) for the next writes. It reads no InfluxQL: it finds what is put into `rows`.
"""

from __future__ import annotations

import gzip
import json
import threading
from collections import deque
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit


@dataclass(slots=True)
class FakeInflux:
    """A context manager; `version` is 2 or 3."""

    version: int
    token: str = "secret"
    org: str = "o"
    lines: dict[str, str] = field(default_factory=dict)
    refused: set[str] = field(default_factory=set)
    buckets: list[dict[str, Any]] = field(default_factory=list)
    script: deque[tuple[int, dict[str, str], bytes]] = field(default_factory=deque)
    rows: deque[list[dict[str, Any]]] = field(default_factory=deque)
    """What the next statements find: `name`, `tags` and `values` of each series."""
    queries: list[dict[str, str]] = field(default_factory=list)
    """The forms of what was asked, in order."""
    writes: list[int] = field(default_factory=list)
    """How many lines each write had, in order."""
    _server: ThreadingHTTPServer | None = None
    _thread: threading.Thread | None = None

    @property
    def port(self) -> int:
        assert self._server is not None
        return int(self._server.server_address[1])

    def __enter__(self) -> Self:
        fake = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                self._serve()

            def do_POST(self) -> None:
                self._serve()

            def log_message(self, format: str, *args: Any) -> None:
                """Nothing."""

            def _serve(self) -> None:
                body = self.rfile.read(int(self.headers.get("content-length", 0)))
                if self.headers.get("content-encoding") == "gzip":
                    body = gzip.decompress(body)
                url = urlsplit(self.path)
                parameters = {key: values[0] for key, values in parse_qs(url.query).items()}
                status, headers, answer = fake.answer(
                    self.command, url.path, parameters, body, self.headers.get("authorization", "")
                )
                self.send_response(status)
                for name, value in {**headers, "content-length": str(len(answer))}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(answer)

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._server is not None
        assert self._thread is not None
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def answer(
        self, method: str, path: str, parameters: dict[str, str], body: bytes, authorization: str
    ) -> tuple[int, dict[str, str], bytes]:
        if path == "/ping":
            return 200, {"x-influxdb-version": "v2.7.6" if self.version == 2 else "3.1.0"}, b""
        if authorization not in (f"Token {self.token}", f"Bearer {self.token}"):
            return _error(401, {"code": "unauthorized", "message": "unauthorized access"})
        match self.version, method, path:
            case 2, "GET", "/api/v2/buckets":
                return _json({"buckets": [bucket for bucket in self.buckets if bucket["name"] == parameters["name"]]})
            case 2, "GET", "/api/v2/orgs":
                return _json({"orgs": [{"id": "0a", "name": self.org}] if parameters.get("org") == self.org else []})
            case 2, "POST", "/api/v2/buckets":
                self.buckets.append(json.loads(body))
                return 201, {}, b"{}"
            case 2, "POST", "/api/v2/write":
                if not any(bucket["name"] == parameters["bucket"] for bucket in self.buckets):
                    return _error(404, {"code": "not found", "message": "bucket not found"})
                assert parameters["precision"] == "ms"
                return self._write(body)
            case 3, "POST", "/api/v3/write_lp":
                assert parameters["precision"] == "millisecond"
                return self._write(body)
            case _, "POST", "/query":
                return _json({"results": self._found(body)})
        return 404, {}, b"404 page not found\n"

    def _found(self, body: bytes) -> list[dict[str, Any]]:
        form = {key: values[0] for key, values in parse_qs(body.decode()).items()}
        self.queries.append(form)
        statements = range(form["q"].count("; ") + 1)
        return [
            {"statement_id": number, **({"series": self.rows.popleft()} if self.rows else {})} for number in statements
        ]

    def _write(self, body: bytes) -> tuple[int, dict[str, str], bytes]:
        lines = body.decode().splitlines()
        self.writes.append(len(lines))
        if self.script:
            return self.script.popleft()
        bad = [number for number, line in enumerate(lines, 1) if line.split(",")[0].split(" ")[0] in self.refused]
        if bad and self.version == 2:  # all or nothing
            return _error(422, {"code": "unprocessable entity", "message": "field type conflict: input field value"})
        good = [line for number, line in enumerate(lines, 1) if number not in bad]
        self.lines.update(
            (f"{line.rpartition(' ')[0].rpartition(' ')[0]} {line.rpartition(' ')[2]}", line) for line in good
        )
        if bad:
            data = [
                {"original_line": lines[n - 1], "line_number": n, "error_message": "invalid column type"} for n in bad
            ]
            return _error(400, {"error": "partial write of line protocol occurred", "data": data})
        return 204, {}, b""


def _json(document: object) -> tuple[int, dict[str, str], bytes]:
    return 200, {"content-type": "application/json"}, json.dumps(document).encode()


def _error(status: int, document: object) -> tuple[int, dict[str, str], bytes]:
    return status, {"content-type": "application/json"}, json.dumps(document).encode()
