"""A real VictoriaMetrics for tests, in a folder of the test's own and on a free loopback port."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlencode
from urllib.request import urlopen

from tests.processes import Program
from tests.servers import find, free_port, is_listening


class Victoria:
    """A single-node VictoriaMetrics that keeps its data below a folder."""

    def __init__(self, port: int) -> None:
        self.port = port

    @classmethod
    @contextmanager
    def installed(cls, folder: Path) -> Iterator[Victoria]:
        """A running server; skips or fails the test when VictoriaMetrics is not installed."""
        binary = find("victoria-metrics", "victoria-metrics", Path("/usr/bin"))
        server = cls(free_port())
        folder.mkdir(parents=True)
        options = ("-loggerLevel=WARN", "-retentionPeriod=100y", "-memory.allowedBytes=64MB")
        command = [binary, f"-storageDataPath={folder}/data", f"-httpListenAddr=127.0.0.1:{server.port}", *options]
        with Program(command, folder=folder, name="victoria-metrics") as program:
            program.wait_for(lambda: is_listening(server.port), what="VictoriaMetrics takes connections")
            yield server

    def export(self, name: str) -> list[dict[str, Any]]:
        """Every series of a metric, with its `timestamps` and `values`."""
        query = urlencode({"match[]": name, "reduce_mem_usage": "1"})
        with urlopen(f"http://127.0.0.1:{self.port}/api/v1/export?{query}", timeout=10) as answer:
            return [json.loads(line) for line in answer.read().splitlines()]
