"""`headrace up` and the commands against it: real processes, loopback, the embedded engine."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.processes import Program, processes_in, wait_until
from tests.servers import Nginx

pytestmark = [pytest.mark.system, pytest.mark.timeout(180)]

EXAMPLE = Path(__file__).parents[2] / "examples/nginx"
LOOPBACK = ("--http", "127.0.0.1:0", "--grpc", "127.0.0.1:0", "--channel", "127.0.0.1:0")

PIPELINE = """\
apiVersion: headrace/v1
kind: Pipeline
metadata: {name: access, labels: {team: web}}
spec:
  selector: role=local
  engine: embedded
  config: |
    service:
      flush: 0.2
    pipeline:
      inputs:
        - name: tail
          path: FOLDER/in.log
          tag: access
          read_from_head: true
          refresh_interval: 1
      filters:
        - name: grep
          match: '*'
          regex: log KEEP
      outputs:
        - name: file
          match: '*'
          path: FOLDER
          file: out.log
          format: template
          template: '{log}'
"""


@dataclass(frozen=True)
class Cli:
    """The command line of one user, whose home is a folder of the test."""

    home: Path
    server: str = ""

    @property
    def environment(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("HEADRACE_", "XDG_"))}
        return {**kept, "HOME": str(self.home), "HEADRACE_SERVER": self.server}

    def __call__(self, *arguments: object, exits: int = 0) -> str:
        ended = subprocess.run(
            [sys.executable, "-P", "-m", "headrace.cli", *map(str, arguments)],
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert ended.returncode == exits, f"{arguments}: exit {ended.returncode}\n{ended.stdout}\n{ended.stderr}"
        assert "Traceback" not in ended.stderr
        return ended.stdout if exits == 0 or ended.stdout else ended.stderr

    def json(self, *arguments: object) -> Any:
        return json.loads(self(*arguments, "-o", "json"))


@dataclass(frozen=True)
class Up:
    program: Program
    folder: Path
    cli: Cli
    ready: dict[str, Any]


@contextmanager
def up(tmp_path: Path, *more: str) -> Iterator[Up]:
    """A running `headrace up`; one at a time in a folder."""
    folder = tmp_path / "data"
    log = tmp_path / "up.log"
    said_before = len(log.read_text()) if log.exists() else 0
    home = tmp_path / "home"
    home.mkdir(exist_ok=True)
    command = [sys.executable, "-P", "-m", "headrace.cli", "up", "--data-dir", folder, *LOOPBACK, *more]
    with Program(command, folder=tmp_path, name="up", env=Cli(home).environment) as program:
        program.wait_for(lambda: "Headrace is ready" in program.output[said_before:], timeout=90)
        ready = json.loads((folder / "ready.json").read_text())
        yield Up(program, folder, Cli(home, ready["grpc"]), ready)


def write_pipeline(tmp_path: Path, keep: str) -> Path:
    path = tmp_path / "access.yaml"
    path.write_text(PIPELINE.replace("FOLDER", str(tmp_path / "logs")).replace("KEEP", keep))
    return path


def test_a_pipeline_lives_its_life(tmp_path: Path) -> None:
    logs = tmp_path / "logs"
    logs.mkdir()
    (logs / "in.log").write_text("GET /one\nPOST /two\n")
    out = logs / "out.log"
    with up(tmp_path, "--no-demo") as running:
        cli = running.cli
        assert "Instance" in cli("status")
        (agent,) = cli.json("get", "agents")
        assert (agent["state"], agent["labels"]["role"]) == ("connected", "local")

        applied = cli("apply", "-f", write_pipeline(tmp_path, "GET"), "--wait", "--reason", "first")
        assert applied.startswith("pipeline/access created (revision 1, ")
        wait_until(lambda: out.exists() and out.read_text() == "GET /one\n", what="the first record")
        (workload,) = cli.json("describe", "pipeline", "access")["workloads"]
        assert workload["desired"] == workload["attempt"]["generation"] == workload["running"]["generation"]
        assert (workload["attempt"]["state"], workload["running"]["engine"]) == ("ok", "embedded")

        assert cli("diff", "-f", write_pipeline(tmp_path, "GET")) == ""
        changed = write_pipeline(tmp_path, "POST")
        assert "regex: log POST" in cli("diff", "-f", changed, exits=1)
        cli("apply", "-f", changed, "--wait")
        with (logs / "in.log").open("a") as log:
            log.write("GET /three\nPOST /four\n")
        wait_until(lambda: out.read_text().endswith("POST /four\n"), what="a record of the changed pipeline")
        assert "GET /three" not in out.read_text()

        cli("rollback", "access", "--wait=good", "--timeout", "60s")
        with (logs / "in.log").open("a") as log:
            log.write("POST /five\nGET /six\n")
        wait_until(lambda: out.read_text().endswith("GET /six\n"), what="a record after the rollback")
        assert [revision["number"] for revision in cli.json("history", "access")] == [3, 2, 1]

        refused = tmp_path / "bad.yaml"
        refused.write_text(changed.read_text().replace("name: grep", "name: grpe"))
        said = cli("apply", "-f", refused, exits=1)
        assert f"{refused}:" in said
        assert "did you mean 'grep'?" in said
        assert cli.json("get", "pipelines")[0]["revision"] == 3

        cli("logs", "access", "--agent", agent["name"])
        assert cli("restart", "access").count("done") == 1
        backup = tmp_path / "backup.gz"
        cli("backup", "--out", backup)
        assert backup.stat().st_size > 100
        kinds = {event["kind"] for event in cli.json("events", "--limit", 1000)}
        assert len(kinds) >= 3

        assert "deleted" in cli("delete", "pipeline", "access", "--confirm", 1)
        cli("describe", "pipeline", "access", exits=3)
        wait_until(lambda: not cli.json("describe", "agent", agent["name"])["workloads"], what="the workload is gone")

        running.program.send(signal.SIGTERM)
        assert running.program.wait() == 0
    assert processes_in(running.folder) == []
    assert "epoch 2 begins" in cli("restore", backup, "--data-dir", tmp_path / "restored")


def test_the_demo_runs_and_a_second_start_goes_on_where_the_first_one_ended(tmp_path: Path) -> None:
    with up(tmp_path) as first:
        demo = first.folder / "demo"
        with (demo / "input.log").open("a") as log:
            log.write('{"level": "error", "message": "hello"}\n')
        wait_until(lambda: "hello" in _text(demo / "output.log"), what="the record in the demo's output")
        (agent,) = first.cli.json("get", "agents")
        first.cli("delete", "pipeline", "demo")
        first.program.send(signal.SIGINT)
        assert first.program.wait() == 0
    with up(tmp_path) as second:
        assert [known["id"] for known in second.cli.json("get", "agents")] == [agent["id"]]
        assert second.cli.json("get", "pipelines") == []


def test_the_nginx_example_counts_every_request(tmp_path: Path, nginx: Nginx) -> None:
    out = tmp_path / "out"
    example = shutil.copytree(EXAMPLE, tmp_path / "example")
    text = (example / "pipeline.yaml").read_text()
    text = text.replace("/var/log/nginx/access.log", str(nginx.access_log)).replace("/tmp/headrace-nginx", str(out))
    (example / "pipeline.yaml").write_text(text)
    with up(tmp_path, "--no-demo") as running:
        running.cli("apply", "-f", example, "--wait")
        for number in range(20):
            urllib.request.urlopen(f"{nginx.url}/item/{number}", timeout=10).close()
            urllib.request.urlopen(f"{nginx.url}/healthz", timeout=10).close()
        wait_until(lambda: _text(out / "requests.json").count("\n") >= 20, what="every request in the output")
        paths = [json.loads(line)["path"] for line in _text(out / "requests.json").splitlines()]
        assert paths == [f"/item/{number}" for number in range(20)]


def test_nothing_outlives_an_up_that_is_killed(tmp_path: Path) -> None:
    with up(tmp_path) as running:
        wait_until(lambda: _text(running.folder / "demo" / "output.log"), what="the demo runs")
        running.program.kill()
        wait_until(lambda: processes_in(running.folder) == [], what="all children have ended")


def test_a_second_start_in_the_same_folder_is_refused_in_words(tmp_path: Path) -> None:
    with up(tmp_path, "--no-demo") as running:
        said = running.cli("up", "--data-dir", running.folder, *LOOPBACK, exits=1)
        assert "the control plane stopped by itself" in said
        assert str(running.folder) in said
        assert "Instance" in running.cli("status")


@pytest.mark.parametrize("victim", ["agent", "controlplane"])
def test_a_child_that_dies_ends_the_whole_with_its_last_words(tmp_path: Path, victim: str) -> None:
    with up(tmp_path, "--no-demo") as running:
        (pid,) = [pid for pid in processes_in(running.folder) if victim in _command_line(pid)]
        os.kill(pid, signal.SIGKILL)
        assert running.program.wait() == 1
        assert "stopped by itself (exit code -9)" in running.program.output
    assert processes_in(running.folder) == []


def test_nobody_there_is_exit_4_and_says_how_to_start(tmp_path: Path) -> None:
    said = Cli(tmp_path, "127.0.0.1:1")("get", "pipelines", exits=4)
    assert "127.0.0.1:1" in said
    assert "headrace up" in said


def _text(path: Path) -> str:
    return path.read_text() if path.exists() else ""


def _command_line(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/cmdline").read_bytes().decode().split("\0")
