"""An nginx under load, its log rotated, and a pipeline on it that changes all the while: every request arrives."""

from __future__ import annotations

import http.client
import itertools
import json
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

import pytest
import yaml

from headrace.types import Phase
from tests.processes import wait_until
from tests.servers import Nginx
from tests.system.plane import ENGINES, Plane, lines_of

pytestmark = [pytest.mark.system, pytest.mark.timeout(300)]

EXAMPLE = Path(__file__).parents[2] / "examples/nginx"
PAUSE_S = 0.002
"""Between two requests of a client: some hundred lines a second, which leaves the machine time for the rest."""


class Load:
    """A client that asks nginx for a new path each time, and now and then for a health check; a context manager."""

    def __init__(self, url: str) -> None:
        self.answered: list[str] = []
        """The paths that nginx answered, without health checks."""
        self._connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=30)
        self._stop = threading.Event()
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="load")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()
        self._connection.close()
        if self._failure is not None:
            raise self._failure

    def _run(self) -> None:
        try:
            for number in itertools.count():
                self._get(f"/request/{number}")
                self.answered.append(f"/request/{number}")
                if number % 10 == 0:
                    self._get("/healthz")
                if self._stop.wait(PAUSE_S):
                    break
        except BaseException as error:
            self._failure = error

    def _get(self, path: str) -> None:
        self._connection.request("GET", path)
        response = self._connection.getresponse()
        response.read()
        assert response.status == 200


def example(log: Path, out: Path) -> dict[str, Any]:
    """The configuration of the example, on this log, into this folder."""
    config = yaml.safe_load((EXAMPLE / "pipeline.yaml").read_text())["spec"]["config"]
    config = config.replace("/var/log/nginx/access.log", str(log)).replace("/tmp/headrace-nginx", str(out))
    return dict(yaml.safe_load(config))


def change_filter(config: dict[str, Any], number: int) -> None:
    config["pipeline"]["filters"][2:] = [{"name": "record_modifier", "match": "*", "record": f"version {number}"}]


def change_input(config: dict[str, Any], number: int) -> None:
    config["pipeline"]["inputs"][0]["refresh_interval"] = number


def change_output(config: dict[str, Any], number: int) -> None:
    config["pipeline"]["outputs"][1:] = [{"name": "null", "match": "*", "alias": f"nothing-{number}"}]


def change_service(config: dict[str, Any], number: int) -> None:
    config["service"]["flush"] = 0.2 + number / 100


def change_everything(config: dict[str, Any], number: int) -> None:
    for change in CHANGES[:-1]:
        change(config, number)


CHANGES: tuple[Callable[[dict[str, Any], int], None], ...] = (
    change_filter,
    change_input,
    change_output,
    change_service,
    change_everything,
)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("changes", [5, pytest.param(40, marks=[pytest.mark.soak, pytest.mark.timeout(1200)])])
def test_every_request_arrives_through_changes_and_rotations(
    nginx: Nginx, tmp_path: Path, engine: str, changes: int
) -> None:
    out = tmp_path / "out"
    config = example(nginx.access_log, out)
    files = {"parsers.conf": (EXAMPLE / "parsers.conf").read_text()}
    with Plane(tmp_path / "plane") as plane:
        agent = plane.agent("a-1", "--settle", "0.5", engine=engine)

        def apply(*flags: str) -> None:
            plane.apply("nginx", yaml.safe_dump(config), *flags, files=files)

        def rotate() -> None:
            last = load.answered[-1]
            nginx.rotate()
            if engine == "fluent-bit":  # which forgets at a reload what it has not read yet of a rotated file
                wait_until(lambda: has_arrived(last, out), what="the rotated file is read")

        apply("--wait")
        with Load(nginx.url) as load:
            for number, change in zip(range(1, changes + 1), itertools.cycle(CHANGES), strict=False):
                so_far = len(load.answered)
                wait_until(lambda least=so_far + 50: len(load.answered) > least, what="requests between changes")  # type: ignore[misc]  # mypy has no lambda defaults
                change(config, number)
                if number % 2:
                    rotate()
                    apply("--wait")
                else:
                    apply()
                    if engine == "embedded":  # in the midst of the change
                        rotate()
                    plane.until("nginx", Phase.RUNNING, Phase.GOOD)
        plane.until("nginx", Phase.GOOD)
        wait_until(lambda: has_arrived(load.answered[-1], out), what="the last request is written")
        agent.stop()
        revisions = plane.cli.json("history", "nginx")
    counts = Counter(paths(out))
    lost = {*load.answered} - {*counts}
    assert len(revisions) == changes + 1
    assert not lost, f"{len(lost)} of {len(load.answered)} requests are lost"
    assert {*counts} == {*load.answered}, "what came out is not what was asked for"
    if engine == "embedded":
        assert {path: count for path, count in counts.items() if count > 1} == {}, "requests came out twice"


def has_arrived(path: str, out: Path) -> bool:
    """Whether this request is in the output."""
    written = out / "requests.json"
    return written.exists() and f'"{path}"' in written.read_text()


def paths(out: Path) -> list[str]:
    """The path of each request in the output."""
    return [json.loads(line)["path"] for line in lines_of(out / "requests.json")]
