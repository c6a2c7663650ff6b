"""A real InfluxDB 1.x for tests, in a folder of the test's own and on free loopback ports."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlencode
from urllib.request import urlopen

import pytest

from tests.processes import Program
from tests.servers import find, free_port, is_listening


@pytest.fixture
def influxd(tmp_path: Path) -> Iterator[Influxd]:
    """An InfluxDB 1.x of this test's own, with no database in it."""
    with Influxd.installed(tmp_path / "influxd") as server:
        yield server


class Influxd:
    """An InfluxDB 1.x; start, stop and kill keep its port and data. Lines are written to `url`."""

    def __init__(self, binary: Path, folder: Path, *, auth: bool = False) -> None:
        self._binary, self._folder, self._auth = binary, folder, auth
        self._program: Program | None = None
        self.port = free_port()
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "influxdb.conf").write_text(self._configuration(rpc=free_port()))

    @classmethod
    @contextmanager
    def installed(cls, folder: Path, *, auth: bool = False) -> Iterator[Influxd]:
        """A running server, which asks for passwords with `auth`; skips or fails the test when it is not installed."""
        server = cls(find("influxd", "influxd", Path("/usr/bin")), folder, auth=auth)
        try:
            server.start()
            yield server
        finally:
            server.stop()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        assert self._program is not None, "the server does not run"
        return self._program.pid

    def start(self) -> None:
        """Starts it, after a kill too, and returns when it answers."""
        command = [self._binary, "run", "-config", self._folder / "influxdb.conf"]
        self._program = Program(command, folder=self._folder, name="influxd")
        self._program.wait_for(lambda: is_listening(self.port), what="InfluxDB takes connections")

    def stop(self) -> None:
        if self._program is not None:
            self._program.stop()
            self._program = None

    def kill(self) -> None:
        """`kill -9`; what it answered is in its write-ahead log."""
        assert self._program is not None, "the server does not run"
        self._program.kill()
        self._program = None

    def query(self, influxql: str, *, database: str = "") -> list[dict[str, Any]]:
        """The series that a statement gives: `name`, `columns`, `values` and, grouped, `tags`; times in nanoseconds."""
        form = urlencode({"q": influxql, "db": database, "epoch": "ns"}).encode()
        with urlopen(f"{self.url}/query", data=form, timeout=30) as answer:
            (result,) = json.load(answer)["results"]
        assert "error" not in result, f"InfluxDB: {influxql!r}: {result['error']}"
        return list(result.get("series", ()))

    def post(self, path: str, data: bytes) -> None:
        """Sends what is not to be read: lines, or a statement's form."""
        with urlopen(f"{self.url}{path}", data=data, timeout=30):
            pass

    def _configuration(self, *, rpc: int) -> str:
        return f"""reporting-disabled = true
bind-address = "127.0.0.1:{rpc}"
[meta]
  dir = "{self._folder}/meta"
[data]
  dir = "{self._folder}/data"
  wal-dir = "{self._folder}/wal"
  query-log-enabled = false
[http]
  bind-address = "127.0.0.1:{self.port}"
  log-enabled = false
  auth-enabled = {str(self._auth).lower()}
[monitor]
  store-enabled = false
[retention]
  check-interval = "1s"
"""
