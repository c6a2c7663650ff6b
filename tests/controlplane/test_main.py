"""The command `python -m controlplane`, as a process."""

from __future__ import annotations

import asyncio
import json
import signal
import sqlite3
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import structlog

from controlplane.__main__ import main
from headrace import local
from headrace.errors import UnauthenticatedError
from headrace.management import ManagementClient
from headrace.testing import FakeAgent
from tests.controlplane.conftest import manifest
from tests.processes import Program

Serve = Callable[..., Program]
ANY = ("--http", "127.0.0.1:0", "--grpc", "127.0.0.1:0", "--channel", "127.0.0.1:0")


@pytest.fixture
def serve(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Serve:
    """Starts `serve` on a data folder."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "xdg"))

    def started(data: Path, *flags: str, name: str = "serve") -> Program:
        command = (sys.executable, "-m", "controlplane", "serve", "--data-dir", data, *ANY, *flags)
        (tmp_path / name).mkdir(exist_ok=True)  # a program takes along what is left in its folder
        return Program(command, folder=tmp_path / name, name=name)

    return started


@pytest.fixture(autouse=True)
def logs_as_they_were() -> Iterator[None]:
    """The command sends the logs of its process to where stderr is then."""
    yield
    structlog.reset_defaults()


def output(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    """Exit status, stdout and stderr of a command that ends by itself."""
    status = main([str(argument) for argument in arguments])
    captured = capsys.readouterr()
    return status, captured.out, captured.err


async def test_it_says_when_it_is_ready_serves_and_stops_by_a_signal(serve: Serve, data_dir: Path) -> None:
    with serve(data_dir, "--log-format", "json") as program:
        ready = program.wait_for_json(data_dir / "ready.json")
        assert ready["pid"] == program.pid
        async with ManagementClient(ready["grpc"]) as client:
            status = await client.get_status()
            assert status.instance_id == ready["instance_id"]
            assert status.state == f"sqlite {data_dir / 'state.db'}"
            await client.apply_pipelines([manifest()])
        assert local.find(address=ready["grpc"]).token
        assert program.stop() == 0
        assert not (data_dir / "ready.json").exists()
        assert not local.find(address=ready["grpc"]).token
        assert all(json.loads(line)["event"] for line in program.output.splitlines())


async def test_a_killed_one_starts_again_with_what_it_had(serve: Serve, data_dir: Path) -> None:
    with serve(data_dir) as program:
        ready = program.wait_for_json(data_dir / "ready.json")
        async with ManagementClient(ready["grpc"]) as client:
            await client.apply_pipelines([manifest()])
        program.kill()
    with serve(data_dir, name="again") as program:
        program.wait_for(lambda: "ready" in program.output)
        ready = program.wait_for_json(data_dir / "ready.json")
        async with ManagementClient(ready["grpc"]) as client:
            assert [pipeline.revision for pipeline in await client.list_pipelines()] == [1]


def test_a_folder_in_use_an_address_in_use_and_bad_flags_are_one_sentence_each(
    serve: Serve, data_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with serve(data_dir) as first:
        ready = first.wait_for_json(data_dir / "ready.json")
        other = tmp_path / "other"
        for flags, folder, words in (
            ((), data_dir, (str(data_dir), str(first.pid))),
            (("--grpc", ready["grpc"]), other, (ready["grpc"], "in use")),
            (("--http", ready["http"]), other, (ready["http"], "in use")),
            (("--channel", ready["channel"]), other, (ready["channel"], "in use")),
            (("--grpc", "0.0.0.0:0"), other, ("not on loopback", "--grpc-insecure")),
            (("--channel", "0.0.0.0:0"), other, ("not on loopback", "--channel-insecure")),
            (("--http", "0.0.0.0:0"), other, ("not on loopback", "--http-insecure")),
            (("--metrics", "oracle"), other, ("'oracle'", "none, sqlite, influxdb")),
            (("--metrics", "influxdb://u:pw@h"), other, ("influxdb://", "DATABASE")),
            (("--metric-label", "agent"), other, ("'agent'", "tag of metrics")),
            (("--state", "mysql://x"), other, ("'mysql'", "sqlite://")),
            (("--heartbeat", "30", "--lost", "40"), other, ("times must grow",)),
            (("--tls-cert", "x.pem"), other, ("--tls-key",)),
            (("--client-ca", "/dev/null"), other, ("/dev/null has no certificates of authorities", "PEM")),
            (("--management-token-file", "/dev/null"), other, ("/dev/null holds no token", "ASCII")),
        ):
            status, _, said = output(capsys, "serve", "--data-dir", folder, *ANY, *flags)
            last = said.splitlines()[-1]
            assert status == 1
            assert last.startswith("controlplane: ")
            assert all(word in last for word in words), last
            assert "Traceback" not in said


async def test_backup_and_restore_carry_the_state_to_another_folder(
    serve: Serve, data_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with serve(data_dir) as program:
        ready = program.wait_for_json(data_dir / "ready.json")
        async with ManagementClient(ready["grpc"]) as client:
            await client.apply_pipelines([manifest()])
        busy = await asyncio.to_thread(output, capsys, "backup", "--data-dir", data_dir, tmp_path / "busy.gz")
        assert busy[0] == 1
        assert str(program.pid) in busy[2]
    backup, other = tmp_path / "backup.gz", tmp_path / "other"
    assert await asyncio.to_thread(output, capsys, "backup", "--data-dir", data_dir, backup) == (0, "", "")
    assert backup.stat().st_mode & 0o777 == 0o600
    status, said, _ = await asyncio.to_thread(output, capsys, "restore", "--data-dir", other, backup)
    assert status == 0
    assert f"instance {ready['instance_id']} restored, epoch 2 begins" in said
    with serve(other, name="restored") as program:
        ready = program.wait_for_json(other / "ready.json")
        async with ManagementClient(ready["grpc"]) as client:
            assert (await client.get_pipeline("edge")).revision == 1
            assert "plane.restored" in {event.kind for event in await client.list_events()}


def test_what_is_no_backup_is_refused(data_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "garbage").write_bytes(b"garbage")
    for path in (tmp_path / "garbage", tmp_path / "none"):
        status, _, said = output(capsys, "restore", "--data-dir", data_dir, path)
        assert status == 1
        assert said.startswith("controlplane: ")


def test_migrate_makes_and_upgrades_a_database(data_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, said, _ = output(capsys, "migrate", "--data-dir", data_dir)
    assert (status, "at the newest schema" in said) == (0, True)
    with sqlite3.connect(data_dir / "state.db") as connection:
        assert connection.execute("select count(*) from plane").fetchone() == (1,)
    connection.close()


async def test_the_second_signal_forces_what_the_first_one_waits_for(serve: Serve, data_dir: Path) -> None:
    with serve(data_dir, "--drain", "3600") as program:
        ready = program.wait_for_json(data_dir / "ready.json")
        async with ManagementClient(ready["grpc"]) as client:
            token = (await client.create_token()).secret
        async with FakeAgent(ready["channel"], token=token) as agent:  # it has nowhere else to go, so it stays
            await agent.until(lambda agent: agent.state.connected)
            program.send(signal.SIGINT)
            program.wait_for(lambda: "stopping" in program.output)
            assert program.is_running()
            program.send(signal.SIGTERM)
            assert await asyncio.to_thread(program.wait) == 0
        assert "forced to stop" in program.output
        assert "time for agents to move" in program.output
        assert not (data_dir / "ready.json").exists()
        assert not local.find(address=ready["grpc"]).token


async def test_a_stranger_on_this_host_is_nobody(serve: Serve, data_dir: Path) -> None:
    with serve(data_dir) as program:
        ready = program.wait_for_json(data_dir / "ready.json")
        for token in ("wrong", "hra_a-1.x"):
            async with ManagementClient(ready["grpc"], token) as client:
                with pytest.raises(UnauthenticatedError, match="HEADRACE_TOKEN"):
                    await client.get_status()


async def test_a_token_of_ones_own_is_asked_for(serve: Serve, data_dir: Path, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("of-my-own\n")
    with serve(data_dir, "--management-token-file", str(tmp_path / "token")) as program:
        ready = program.wait_for_json(data_dir / "ready.json")
        async with ManagementClient(ready["grpc"], "of-my-own") as client:
            assert (await client.get_status()).instance_id
