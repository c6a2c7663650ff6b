"""A secret from the command line to a server that asks for it, with real processes: and where else it is found."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from headrace import api
from headrace.types import Phase
from tests.processes import wait_until
from tests.system.plane import ENGINES, Agent, Plane

pytestmark = [pytest.mark.system, pytest.mark.timeout(240)]

FIRST, SECOND = "s3cr3t-kingfisher-41", "s3cr3t-dipper-42"
SETTLE = ("--settle", "0.5")


class Receiver(ThreadingHTTPServer):
    """Takes records from whoever knows what to say; with `echo` it refuses them, and repeats what was said."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.seen: list[str] = []
        self.echo = False

    def until(self, credential: str) -> None:
        start = len(self.seen)
        wait_until(lambda: credential in self.seen[start:], timeout=60, what=f"a request with {credential}")


class _Handler(BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        credential = self.headers["Authorization"]
        self.server.seen.append(credential)
        body = f"no entry with {credential}".encode() if self.server.echo else b""
        self.send_response(400 if self.server.echo else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing."""


@contextmanager
def receiver() -> Iterator[Receiver]:
    with Receiver() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), name="receiver")
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def configuration(port: int) -> str:
    return f"""
service:
  flush: 0.2
pipeline:
  inputs:
    - name: dummy
      dummy: '{{"bird": "heron"}}'
      rate: 5
      tag: birds
  outputs:
    - name: http
      match: '*'
      host: 127.0.0.1
      port: {port}
      format: json
      header: Authorization Bearer ${{API_TOKEN}}
"""


def places(*folders: Path) -> list[str]:
    """Files that hold a value, in any form in which one is written easily."""
    forms = [
        form
        for value in (FIRST.encode(), SECOND.encode())
        for form in (value, base64.b64encode(value), base64.b64encode(b"Bearer " + value)[:-4], value.hex().encode())
    ]
    found = []
    for path in (path for folder in folders for path in folder.rglob("*") if not path.is_symlink()):
        try:
            data = path.read_bytes() if path.is_file() else b""
        except FileNotFoundError:  # a chunk that was sent meanwhile
            continue
        if any(form in data for form in forms):
            found.append(str(path))
    return found


def arguments() -> list[str]:
    """The command lines of all processes that there are."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            found.append(path.read_bytes().decode(errors="replace"))
        except OSError:
            continue
    return found


def has_value(text: str) -> bool:
    return any(value in text or base64.b64encode(value.encode()).decode() in text for value in (FIRST, SECOND))


def running(workload: api.Workload) -> tuple[int, str]:
    """Generation and content of what runs."""
    assert workload.observed
    assert workload.observed.running
    return workload.observed.running.generation, workload.observed.running.sha256


def environment_of(agent: Agent) -> bytes:
    (engine,) = agent.engines("birds")
    return Path(f"/proc/{engine}/environ").read_bytes()


@pytest.mark.parametrize("engine", ENGINES)
def test_a_secret_reaches_its_output_and_is_found_nowhere_else(tmp_path: Path, engine: str) -> None:
    with Plane(tmp_path / "plane") as plane, receiver() as server:
        agent = plane.agent("a-1", *SETTLE, engine=engine)
        other = plane.agent("a-2", *SETTLE, engine=engine)
        folders = (plane.folder, agent.folder, other.folder)
        said: list[str] = []

        def cli(*words: object, stdin: str | None = None, exits: int = 0) -> str:
            ended = plane.cli.run(*words, stdin=stdin)
            said.append(ended.stdout + ended.stderr)
            assert ended.returncode == exits, said[-1]
            return said[-1]

        def apply(exits: int = 0) -> str:
            path = plane.manifest(
                "birds",
                configuration(server.server_port),
                selector="on=a-1",
                engine=engine,
                secrets={"API_TOKEN": "api-token"},
            )
            return cli("apply", "-f", path, "--wait=good", "--timeout", "110s", exits=exits)

        cli("agent", "label", "a-1", "on=a-1")
        assert "secret 'api-token' does not exist; make it by `headrace secret set api-token`" in apply(exits=1)
        assert "secret/api-token set, version 1" in cli("secret", "set", "api-token", stdin=FIRST + "\n")
        apply()
        server.until(f"Bearer {FIRST}")
        assert f"API_TOKEN={FIRST}".encode() in environment_of(agent)
        assert not any(map(has_value, arguments()))
        assert places(*folders) == []

        # A rotation is applied by itself, under the same generation and content.
        before = plane.workload("birds", "a-1")
        assert "unchanged" in cli("secret", "set", "api-token", stdin=FIRST)
        assert "applied anew: birds" in cli("secret", "set", "api-token", stdin=SECOND)
        server.until(f"Bearer {SECOND}")
        plane.until("birds", Phase.GOOD)
        after = plane.workload("birds", "a-1")
        assert running(after) == running(before)
        assert f"API_TOKEN={SECOND}".encode() in environment_of(agent)
        assert FIRST.encode() not in environment_of(agent)

        # The agent starts the engine without a control plane, by what it keeps closed on its disk.
        plane.stop()
        agent.stop()
        agent.start()
        server.until(f"Bearer {SECOND}")
        plane.start()
        agent.until_connected()

        # What the server repeats stands in the engine's own log for a moment, and nobody is shown it.
        server.echo = True
        log = agent.data / "workloads/birds/engine.log"
        hidden = f"no entry with Bearer {'*' * len(SECOND)}"
        wait_until(lambda: hidden in log.read_text(errors="replace"), timeout=60, what="a hidden value in the log")
        shown = cli("logs", "birds", "--agent", "a-1", "--lines", "5000")
        assert "no entry with Bearer ***" in shown
        assert not has_value(shown)

        # What the engine wrote while its agent was gone is masked by the next one, which takes it over.
        engine = agent.engines("birds")
        agent.kill()
        wait_until(lambda: SECOND in log.read_text(errors="replace"), timeout=60, what="the value in the engine's log")
        server.echo = False
        agent.start()
        agent.until_connected()
        assert agent.engines("birds") == engine
        wait_until(lambda: places(*folders) == [], what="no value in any file")

        for words in (
            ("describe", "pipeline", "birds"),
            ("get", "pipelines", "-o", "yaml"),
            ("get", "secrets", "-o", "json"),
            ("secret", "list"),
            ("describe", "agent", "a-1"),
            ("history", "birds"),
            ("events", "--export"),
            ("diff", "-f", plane.folder / "birds.yaml"),
            ("backup", "--out", tmp_path / "backup"),
        ):
            cli(*words)
        assert "in use by pipeline 'birds'" in cli("secret", "delete", "api-token", exits=1)
        assert (agent.data / "secrets.key").stat().st_mode & 0o777 == 0o600
        assert not (other.data / "secrets.json").exists()

        cli("delete", "pipeline", "birds", "--confirm", "1", "--wait", "--timeout", "110s")
        wait_until(lambda: not (agent.data / "secrets.json").exists(), what="the secrets are erased")
        assert not (agent.data / "secrets.key").exists()
        cli("secret", "delete", "api-token")
        assert json.loads(cli("secret", "list", "-o", "json")) == []

        kinds = [event.kind for event in plane.events()]
        assert [kind for kind in kinds if kind.startswith("secret.")] == ["secret.set", "secret.set", "secret.deleted"]
        said += [str(event) for event in plane.events()]
        said += [service.program.output for service in (plane, agent, other)]
        assert [text for text in said if has_value(text)] == []
        assert places(*folders, tmp_path) == []
        assert set(server.seen) == {f"Bearer {FIRST}", f"Bearer {SECOND}"}
