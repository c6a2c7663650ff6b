"""The agent's command: what it prints, where, and with which status."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog

from agent import cli
from agent.model import Record, Target
from agent.state import State
from headrace.types import Attempt, AttemptState, Engine, Fault
from tests.agent.conftest import config


@pytest.fixture(autouse=True)
def logging_as_before() -> Iterator[None]:
    """`run` sets logging up for its process, which here is the tests' own."""
    yield
    structlog.reset_defaults()


def settings_of(*arguments: str, **environment: str) -> object:
    return cli._settings(cli._parser(environment).parse_args(["run", "--data-dir", "/d", *arguments]))


def test_flags_win_over_the_environment_and_that_over_defaults() -> None:
    environment = {
        "HEADRACE_AGENT_SERVER": "h:1",
        "HEADRACE_AGENT_LABEL": "a=b,c=d",
        "HEADRACE_AGENT_ENGINE": "embedded",
        "HEADRACE_AGENT_SETTLE": "7s",
        "HEADRACE_TOKEN": "of the operators",
    }
    got = settings_of(**environment)
    assert (got.server, got.labels, got.engine, got.settle_s) == ("h:1", {"a": "b", "c": "d"}, Engine.EMBEDDED, 7.0)  # type: ignore[attr-defined]
    assert got.token == ""  # type: ignore[attr-defined]
    got = settings_of("--server", "h:2", "--settle", "3", **environment)
    assert (got.server, got.settle_s) == ("h:2", 3.0)  # type: ignore[attr-defined]
    assert settings_of(HEADRACE_AGENT_CHANNEL_INSECURE="true").insecure  # type: ignore[attr-defined]
    assert not settings_of().insecure  # type: ignore[attr-defined]


@pytest.mark.parametrize("arguments", [[], ["dance"], ["run", "--engine", "warp"], ["run", "--settle", "soon"]])
def test_wrong_usage_is_status_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(arguments)
    assert ended.value.code == 2
    assert capsys.readouterr().out == ""


def test_the_version_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["version"]) == 0
    assert capsys.readouterr().out.startswith("headrace-agent 0.")


def test_a_valid_file_is_said_to_be(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "p.yaml"
    path.write_text(config())
    assert cli.main(["validate", "--engine", "embedded", str(path)]) == 0
    assert "valid on this host" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (config().replace("name: dummy", "name: dumy"), "did you mean 'dummy'?"),
        (config().replace("rate: 50", "rate: ${RATE}"), "variable 'RATE' is not set"),
        (config().replace("service:", "servic:"), "service"),
    ],
)
def test_each_fault_of_an_invalid_file_is_a_line_on_stderr(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, message: str
) -> None:
    path = tmp_path / "p.yaml"
    path.write_text(text)
    assert cli.main(["validate", "--engine", "embedded", str(path)]) == 1
    printed = capsys.readouterr()
    assert printed.out == ""
    assert message in printed.err
    assert "Traceback" not in printed.err


def test_what_cannot_be_read_or_found_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["validate", str(tmp_path / "none.yaml")]) == 1
    assert cli.main(["status", "--data-dir", str(tmp_path / "none")]) == 1
    assert cli.main(["run", "--data-dir", str(tmp_path), "--engine", "fluent-bit", "--fluent-bit", "/bin/true"]) == 1
    assert cli.main(["run", "--data-dir", str(tmp_path), "--label", "x"]) == 1
    assert cli.main(["run", "--data-dir", str(tmp_path), "--server", "192.0.2.1:1", "--engine", "embedded"]) == 1
    lines = capsys.readouterr().err.splitlines()
    assert [line.partition(":")[0] for line in lines if line.startswith("headrace-agent")] == ["headrace-agent"] * 5
    assert "--channel-insecure" in lines[-1]


def test_the_status_tells_what_is_on_disk(data_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    state = State(data_dir)
    state.open()
    attempt = Attempt(generation=2, state=AttemptState.FAILED, faults=(Fault(message="wrong"),))
    state.save(Record(pipeline="p", desired=Target(2, "b"), good=Target(1, "a"), attempt=attempt))
    assert cli.main(["status", "--data-dir", str(data_dir), "-o", "json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["running"] is True
    assert document["workloads"] == [
        {
            "pipeline": "p",
            "desired": 2,
            "running": 0,
            "good": 1,
            "attempt": "failed",
            "phase": "failed",
            "faults": ["wrong"],
        }
    ]
    state.close()
    assert cli.main(["status", "--data-dir", str(data_dir)]) == 1
    printed = capsys.readouterr().out
    assert "not running" in printed
    assert "p: failed, desired 2, running 0" in printed
