"""What `up` decides by itself: the arguments of its children, the demo, and what of their logs is told."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
import typer

from headrace import config
from headrace.api import Variable
from headrace.cli import local_agent, up
from headrace.cli.serve import Doors, arguments
from headrace.errors import InvalidError
from headrace.types import AgentState
from tests.headrace.cli.fake_plane import FakePlane, agent


@pytest.mark.parametrize(
    ("address", "call"),
    [
        ("127.0.0.1:8401", "127.0.0.1:8401"),
        ("0.0.0.0:8401", "127.0.0.1:8401"),
        ("[::]:8401", "[::1]:8401"),
        ("10.1.2.3:80", "10.1.2.3:80"),
    ],
)
def test_a_listener_on_every_address_is_called_on_loopback(address: str, call: str) -> None:
    assert local_agent.reachable(address) == call


def test_the_control_plane_is_started_with_what_was_given() -> None:
    doors = Doors(http="h:1", grpc="g:2", channel="c:3", channel_insecure=True)
    given = arguments(Path("/d"), state="sqlite:///x", metrics="none", sample_interval="1m", doors=doors)
    assert " ".join(given) == (
        "serve --data-dir /d --state sqlite:///x --metrics none --sample-interval 60 --http h:1 --grpc g:2 "
        "--channel c:3 --channel-insecure"
    )


@pytest.mark.parametrize("interval", ["0", "999ms", "2h", "often"])
def test_an_interval_that_no_agent_would_keep_is_wrong_usage(interval: str) -> None:
    doors = Doors(http="h:1", grpc="g:2", channel="c:3")
    with pytest.raises(typer.BadParameter, match="is not"):
        list(arguments(Path("/d"), state="", metrics="", sample_interval=interval, doors=doors))


def test_the_demo_is_a_valid_pipeline_for_the_local_agent() -> None:
    demo = local_agent.demo_manifest().manifest
    assert demo.selector == local_agent.SELECTOR
    document = config.parse(demo.config)
    assert {reference.name for reference in config.variables(document)} == {"DEMO_DIR", "HEADRACE_AGENT"}


async def test_the_demo_is_for_the_first_start_only(tmp_path: Path) -> None:
    plane = FakePlane()
    assert await local_agent.is_first_demo(plane)
    await local_agent.prepare_demo(plane, tmp_path / "demo")
    assert plane.variables == [Variable(name="DEMO_DIR", value=str(tmp_path / "demo"), selector="role=local")]
    assert "welcome" in (tmp_path / "demo" / "input.log").read_text()
    await local_agent.apply_demo(plane)
    assert await local_agent.has_demo(plane)
    assert not await local_agent.is_first_demo(plane)
    await plane.delete_pipelines(["demo"])
    assert not await local_agent.is_first_demo(plane)
    assert not await local_agent.has_demo(plane)


async def test_a_demo_that_is_refused_is_a_warning(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    async def refuse(*_: object, **__: object) -> None:
        raise InvalidError("not here")

    plane = FakePlane()
    monkeypatch.setattr(plane, "apply_pipelines", refuse)
    await local_agent.apply_demo(plane)
    assert capsys.readouterr().err == "warning: the demo pipeline was not applied: not here\n"


async def test_a_token_is_in_a_private_file_and_gone_afterwards(tmp_path: Path) -> None:
    plane = FakePlane()
    path = tmp_path / "token"
    async with local_agent.token(plane, path) as id:
        assert (id, path.read_text(), path.stat().st_mode & 0o777) == ("t1", "hrb_t1.secret\n", 0o600)
        assert plane.tokens["t1"].labels == {"role": "local"}
    assert not path.exists()
    assert plane.tokens["t1"].revoked


async def test_the_local_agent_alone_is_approved_of(monkeypatch: pytest.MonkeyPatch) -> None:
    began = datetime.now(UTC)
    ours = replace(agent("ours", AgentState.PENDING), waits=True, token_id="t1")
    plane = FakePlane(agents={"ours": ours, "other": replace(ours, id="other", token_id="t2")})
    approved: list[str] = []

    async def approve(id: str) -> str:
        approved.append(id)
        known = replace(ours, waits=False, labels=local_agent.LABELS, connected_at=began)
        plane.agents[id] = replace(known, state=AgentState.CONNECTED)
        return id

    monkeypatch.setattr(plane, "approve_agent", approve)
    found = await local_agent.connected(plane, since=began, token_id="t1")
    assert (found.id, approved, plane.agents["other"].waits) == (ours.id, [ours.id], True)


def test_the_ready_lines_say_where_and_what_next() -> None:
    bound = {"http": "127.0.0.1:1", "grpc": "127.0.0.1:2", "channel": "127.0.0.1:3"}
    host = agent("host", role="local")
    text = "\n".join(local_agent.ready_lines(Path("/d"), bound, host, demo=True))
    assert "export HEADRACE_SERVER=127.0.0.1:2" in text
    assert "/d/demo/output.log" in text
    quiet = "\n".join(local_agent.ready_lines(Path("/d"), {**bound, "grpc": "127.0.0.1:8401"}, host, demo=False))
    assert "HEADRACE_SERVER" not in quiet
    assert "demo" not in quiet


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ('{"level": "info", "event": "ready"}', ""),
        (
            '{"level": "warning", "event": "late", "pipeline": "nginx", "timestamp": "x"}',
            "agent: warning: late pipeline=nginx\n",
        ),
        ("Traceback (most recent call last):", ""),
        ('{"no": "log"}', ""),
        ("[]", ""),
    ],
)
def test_problems_of_the_children_are_told(line: str, told: str, capsys: pytest.CaptureFixture[str]) -> None:
    up._tell("agent", line)
    assert capsys.readouterr().err == told
