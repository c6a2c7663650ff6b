"""Whatever is killed, cut or full: pipelines go on or come back, no line is lost, and the events tell the story."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from headrace.types import AgentState, Phase
from tests import processes
from tests.processes import wait_until
from tests.servers import Postgres
from tests.system.line import Line
from tests.system.plane import ENGINES, Plane
from tests.system.records import Feed

pytestmark = [pytest.mark.system, pytest.mark.timeout(180)]

SETTLE = ("--settle", "0.5")


def story(plane: Plane, about: str) -> list[str]:
    """The kinds of the events of agents, workloads or planes, oldest first."""
    return [event.kind for event in plane.events() if event.kind.startswith(f"{about}.")]


def test_a_killed_control_plane_stops_no_pipeline_and_goes_on_where_it_was(tmp_path: Path) -> None:
    with Plane(tmp_path / "plane") as plane, Feed(tmp_path / "records") as feed:
        agent = plane.agent("a-1", *SETTLE)
        plane.apply("feed", feed.pipeline(), "--wait=good")
        engines = agent.engines()

        plane.kill()
        assert "cannot reach the control plane" in plane.cli("get", "agents", exits=4)
        feed.until_flowing()
        assert agent.engines() == engines

        plane.start()
        plane.apply("feed", feed.pipeline(2), "--wait=good")
        feed.until_flowing(version=2)
        assert agent.engines() == engines
        assert story(plane, "plane") == ["plane.started", "plane.started"]  # it never stopped: it was killed
        assert story(plane, "workload") == []
        # Nothing came between the engine and its records, so none came twice.
        assert set(feed.complete(agent).values()) == {1}


@pytest.mark.parametrize("engine", ENGINES)
def test_a_killed_agent_leaves_its_engine_and_takes_it_over_again(tmp_path: Path, engine: str) -> None:
    with Plane(tmp_path / "plane", "--heartbeat", "1") as plane, Feed(tmp_path / "records") as feed:
        agent = plane.agent("a-1", *SETTLE, engine=engine)
        plane.apply("feed", feed.pipeline(), "--wait=good")
        engines = agent.engines()

        agent.kill()
        assert agent.engines() == engines
        feed.until_flowing()
        wait_until(lambda: plane.workload("feed", "a-1").agent_state is AgentState.SUSPECT, what="it is missed")
        plane.apply("feed", feed.pipeline(2))

        agent.start()
        plane.until("feed", Phase.GOOD)
        feed.until_flowing(version=2)
        assert agent.engines() == engines
        told = story(plane, "agent")
        assert told[:2] == ["agent.enrolled", "agent.connected"]
        assert told[-1] == "agent.connected"
        assert "agent.suspect" in told
        counts = feed.complete(agent)
        assert engine != "embedded" or set(counts.values()) == {1}


@pytest.mark.soak
def test_an_engine_whose_agent_is_gone_is_neither_doubled_nor_missed(tmp_path: Path) -> None:
    """Engine, agent and control plane all die; the agent alone brings its pipeline back from disk."""
    with Plane(tmp_path / "plane") as plane, Feed(tmp_path / "records") as feed:
        agent = plane.agent("a-1", *SETTLE)
        plane.apply("feed", feed.pipeline(), "--wait=good")
        plane.kill()
        agent.kill()
        (engine,) = agent.engines()
        os.kill(engine, signal.SIGKILL)

        agent.start()
        feed.until_flowing()
        assert len(agent.engines()) == 1
        plane.start()
        plane.apply("feed", feed.pipeline(2), "--wait=good")
        feed.until_flowing(version=2)
        assert len(agent.engines()) == 1
        feed.complete(agent)


@pytest.mark.parametrize("engine", ENGINES)
def test_a_killed_engine_comes_back_and_reads_on(tmp_path: Path, engine: str) -> None:
    with Plane(tmp_path / "plane") as plane, Feed(tmp_path / "records") as feed:
        agent = plane.agent("a-1", *SETTLE, engine=engine)
        plane.apply("feed", feed.pipeline(), "--wait=good")
        for restarts in (1, 2):
            (pid,) = agent.engines()
            os.kill(pid, signal.SIGKILL)
            wait_until(lambda pid=pid: agent.engines() not in ([], [pid]), what="another engine")  # type: ignore[misc]  # mypy has no lambda defaults
            feed.until_flowing()
            running = plane.until("feed", Phase.GOOD)["a-1"].observed.running  # type: ignore[union-attr]  # good, so there
            assert running
            assert running.restarts == restarts
        told = [event for event in plane.events(pipeline="feed") if event.kind.startswith("workload.")]
        assert [event.kind for event in told] == ["workload.stopped", "workload.recovered"] * 2
        assert "SIGKILL" in told[0].message
        feed.complete(agent)


def test_a_killed_database_stops_no_pipeline_and_the_control_plane_outlasts_it(
    tmp_path: Path, postgres_server: Postgres, postgres_url: str
) -> None:
    with Plane(tmp_path / "plane", "--state", postgres_url) as plane, Feed(tmp_path / "records") as feed:
        agent = plane.agent("a-1", *SETTLE)
        plane.apply("feed", feed.pipeline(), "--wait=good")
        engines = agent.engines()

        postgres_server.kill()
        try:
            said = plane.apply("feed", feed.pipeline(2), exits=4)
            assert "postgresql" in said
            assert "headrace up" not in said, "it is not the control plane that is away"
            feed.until_flowing()
        finally:
            postgres_server.start()
        assert agent.engines() == engines
        assert plane.program.is_running()
        wait_until(lambda: plane.answered(lambda: plane.workloads("feed")), what="the control plane is back")
        assert plane.cli.json("get", "pipelines")[0]["revision"] == 1
        plane.apply("feed", feed.pipeline(2), "--wait=good")
        feed.until_flowing(version=2)
        assert agent.engines() == engines
        assert story(plane, "plane") == ["plane.started"]
        assert set(feed.complete(agent).values()) == {1}


@pytest.mark.parametrize("how", ["sever", pytest.param("stall", marks=pytest.mark.soak)])
@pytest.mark.parametrize("heartbeat", ["1", pytest.param("20", marks=[pytest.mark.soak, pytest.mark.timeout(600)])])
def test_a_cut_line_is_noticed_and_the_agent_catches_up_afterwards(tmp_path: Path, how: str, heartbeat: str) -> None:
    """The cut lasts five heartbeats, until the agent counts as lost."""
    with Plane(tmp_path / "plane", "--heartbeat", heartbeat) as plane, Feed(tmp_path / "records") as feed:
        with Line(plane.channel) as line:
            agent = plane.agent("a-1", *SETTLE, via=line.address)
            plane.apply("feed", feed.pipeline(), "--wait=good")
            engines = agent.engines()

            line.sever() if how == "sever" else line.stall()
            for state in (AgentState.SUSPECT, AgentState.LOST):
                wait_until(
                    lambda state=state: plane.workload("feed", "a-1").agent_state is state,  # type: ignore[misc]  # mypy has no lambda defaults
                    timeout=6 * float(heartbeat) + 20,
                    what=f"the agent is {state}",
                )
            said = plane.cli.run("apply", "-f", plane.manifest("feed", feed.pipeline(2)), "--wait")
            assert said.returncode == 0
            assert "a-1" in said.stderr
            feed.until_flowing(version=1)
            assert agent.engines() == engines

            line.mend()
            plane.until("feed", Phase.GOOD, timeout=120)
            feed.until_flowing(version=2)
            assert agent.engines() == engines
            told = story(plane, "agent")
            assert told[:2] == ["agent.enrolled", "agent.connected"]
            assert told[-3:] == ["agent.suspect", "agent.lost", "agent.connected"]
            assert set(feed.complete(agent).values()) == {1}


def test_an_agent_whose_disk_is_full_runs_on_and_catches_up_when_there_is_room(tmp_path: Path) -> None:
    """A limit of nothing on the size of its files stands for the full disk: it can be set on a running process."""
    with Plane(tmp_path / "plane") as plane, Feed(tmp_path / "records") as feed:
        agent = plane.agent("a-1", *SETTLE)
        plane.apply("feed", feed.pipeline(), "--wait=good")
        engines = agent.engines()

        limits = resource.prlimit(agent.program.pid, resource.RLIMIT_FSIZE)
        resource.prlimit(agent.program.pid, resource.RLIMIT_FSIZE, (0, limits[1]))
        plane.apply("feed", feed.pipeline(2))
        observed = plane.until("feed", Phase.FAILED)["a-1"].observed
        assert observed
        assert observed.attempt
        assert observed.running
        assert "cannot be written" in observed.attempt.faults[0].message
        assert not observed.attempt.quarantined
        assert any("not on disk" in note for note in observed.notes)
        feed.until_flowing(version=1)
        assert agent.engines() == engines

        resource.prlimit(agent.program.pid, resource.RLIMIT_FSIZE, limits)
        plane.until("feed", Phase.GOOD)
        feed.until_flowing(version=2)
        assert agent.engines() == engines
        wait_until(lambda: not plane.workload("feed", "a-1").observed.notes, timeout=40, what="all is on disk")  # type: ignore[union-attr]  # as above
        # What could not be written is on disk by now: the agent knows who it is and what runs.
        agent.kill()
        agent.start()
        agent.until_connected()
        feed.until_flowing(version=2)
        feed.complete(agent)


@pytest.mark.soak
def test_an_engine_that_dies_on_a_full_disk_comes_back(tmp_path: Path) -> None:
    """On a real one, which takes root; the agent is killed as well, and starts on what is there."""
    with Plane(tmp_path / "plane") as plane, Feed(tmp_path / "records") as feed, small_disk(tmp_path / "a-1") as disk:
        agent = plane.agent("a-1", *SETTLE)
        plane.apply("feed", feed.pipeline(), "--wait=good")
        fill(disk / "filler")
        plane.apply("feed", feed.pipeline(2))
        plane.until("feed", Phase.FAILED)
        agent.kill()
        (engine,) = agent.engines()
        os.kill(engine, signal.SIGKILL)

        agent.start()
        feed.until_flowing(version=1)
        (disk / "filler").unlink()
        plane.until("feed", Phase.GOOD, timeout=90)
        feed.until_flowing(version=2)
        wait_until(lambda: not plane.workload("feed", "a-1").observed.notes, timeout=40, what="all is on disk")  # type: ignore[union-attr]  # good, so there
        feed.complete(agent)
        agent.close()


@pytest.mark.soak
@pytest.mark.timeout(600)
@pytest.mark.parametrize("engine", ENGINES)
def test_kills_in_the_midst_of_changes_leave_the_newest_running_and_lose_nothing(tmp_path: Path, engine: str) -> None:
    with Plane(tmp_path / "plane") as plane, Feed(tmp_path / "records") as feed:
        agent = plane.agent("a-1", *SETTLE, engine=engine)
        plane.apply("feed", feed.pipeline(), "--wait=good")
        for version, victim in enumerate(["agent", "engine", "plane", "all"] * 4, start=2):
            plane.apply("feed", feed.pipeline(version))
            engines = agent.engines()
            if victim in ("plane", "all"):
                plane.kill()
            if victim in ("agent", "all"):
                agent.kill()
            if victim in ("engine", "all"):
                for pid in engines:
                    with suppress(ProcessLookupError):  # the change may have replaced it
                        os.kill(pid, signal.SIGKILL)
            for service in (plane, agent):
                if not service.program.is_running():
                    service.start()
            plane.until("feed", Phase.GOOD, timeout=90)
            feed.until_flowing(version=version)
            assert len(agent.engines()) == 1
        feed.complete(agent)


def fill(path: Path) -> None:
    """Writes until the disk takes no more."""
    with path.open("wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(bytes(1 << 12))


@contextmanager
def small_disk(folder: Path) -> Iterator[Path]:
    """A folder that is a disk of its own, of a few megabytes."""
    folder.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16m", "none", folder], capture_output=True, check=False)
    if done.returncode:
        pytest.skip("a disk of its own can be mounted by root only")
    try:
        yield folder
    finally:
        processes.kill_all_in(folder)
        subprocess.run(["umount", "--lazy", folder], check=True)
