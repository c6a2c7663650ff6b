"""An output that is down while the input never ends: memory stays bounded, and afterwards everything arrives once."""

import http.server
import json
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from agent.runtimes.ports import free_port
from tests.agent.engine.conftest import EngineKit
from tests.processes import Program, wait_until

TEXT = """
    service: {{flush: 0.2, grace: 10, storage.path: store, scheduler.base: 1, scheduler.cap: 1}}
    pipeline:
      inputs:
        - {{name: tail, path: in.log, tag: t, read_from_head: true, db: off.db, mem_buf_limit: 2M{storage}}}
      outputs:
        - {{name: http, match: '*', host: 127.0.0.1, port: {port}, format: json_lines, retry_limit: no_limits}}
"""
LINE = "x" * 200
LINES = 100_000
MIB = 1 << 20
GROWTH = 48 * MIB
"""What a process may grow by: the limit is on bytes of records, which Python holds several times larger."""


class Sink(http.server.ThreadingHTTPServer):
    """Takes JSON lines and counts the numbers in them."""

    daemon_threads = True

    def __init__(self, port: int) -> None:
        super().__init__(("127.0.0.1", port), SinkRequest)
        self.taken: Counter[int] = Counter()


class SinkRequest(http.server.BaseHTTPRequestHandler):
    server: Sink

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.taken.update(int(json.loads(line)["log"].split()[0]) for line in body.splitlines())
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        pass


@contextmanager
def sink(port: int) -> Iterator[Counter[int]]:
    with Sink(port) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield server.taken
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.parametrize("storage", ["", ", storage.type: filesystem"], ids=["memory", "filesystem"])
@pytest.mark.parametrize("seconds", [2, pytest.param(60, marks=[pytest.mark.soak, pytest.mark.timeout(600)])])
def test_memory_is_bounded_while_an_output_is_down_and_nothing_is_lost(
    kit: EngineKit, storage: str, seconds: int
) -> None:
    port = free_port()
    with kit.child(TEXT.format(storage=storage, port=port)) as engine:
        engine.wait_for(lambda: "started" in engine.output)
        before = engine.memory
        most = feed(engine, seconds)
        assert most - before < GROWTH, f"grown by {(most - before) / MIB:.0f} MiB"
        with sink(port) as taken:
            wait_until(lambda: len(taken) == LINES, timeout=240, what=f"{LINES} lines")
            assert engine.stop() == 0
    assert max(taken.values()) == 1


def feed(engine: Program, seconds: int) -> int:
    """Writes ten times what may be held, then watches for so long; the most memory that was seen."""
    with open("in.log", "a") as log:
        log.writelines(f"{number} {LINE}\n" for number in range(LINES))
    seen, end = [0], time.monotonic() + seconds

    def is_over() -> bool:
        seen.append(engine.memory)
        return time.monotonic() > end

    wait_until(is_over, timeout=seconds + 20)
    return max(seen)
