"""Restored and foreign planes, with real engines: nothing stops, what is unknown is an orphan, and operators decide."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from headrace.types import Phase
from tests.processes import wait_until
from tests.system.line import Line
from tests.system.plane import Agent, Plane
from tests.system.records import Feed

pytestmark = [pytest.mark.system, pytest.mark.timeout(180)]

SETTLE = ("--settle", "0.5")
QUIET = "pipeline: {inputs: [{name: dummy, tag: %s}], outputs: [{name: 'null', match: '*'}]}"


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.soak)])
def state(request: pytest.FixtureRequest) -> tuple[str, ...]:
    """The flags that say where the state is."""
    return () if request.param == "sqlite" else ("--state", request.getfixturevalue("postgres_url"))


def until_phases(plane: Plane, expected: dict[str, Phase], *, agent: str = "a-1") -> None:
    """Until the agent's workloads are just these."""

    def phases() -> dict[str, Phase]:
        there = plane.answered(lambda: plane.ask(lambda client: client.list_agents())) or ()
        if agent not in [each.facts.name for each in there]:
            return {}
        workloads = plane.ask(lambda client: client.get_agent(agent)).workloads
        return {workload.pipeline: workload.phase for workload in workloads}

    try:
        wait_until(lambda: phases() == expected, timeout=40)
    except AssertionError:
        assert phases() == expected


def engines(agent: Agent, *pipelines: str) -> dict[str, list[int]]:
    return {pipeline: agent.engines(pipeline) for pipeline in pipelines}


def told(plane: Plane, kind: str) -> list[str]:
    return [event.message for event in plane.events() if event.kind == kind]


def test_after_a_restore_the_fleet_converges_and_no_engine_stops(tmp_path: Path, state: tuple[str, ...]) -> None:
    """A file store comes back on an empty disk, as after the loss of a host; a database is set back in its place."""
    backup = tmp_path / "backup.gz"
    with Plane(tmp_path / "plane", *state) as plane, Feed(tmp_path / "records") as feed:
        agent = plane.agent("a-1", *SETTLE)
        plane.apply("feed", feed.pipeline(), "--wait=good")
        plane.apply("doomed", QUIET % "doomed", "--wait=good")
        plane.cli("backup", "--out", backup)
        # What the backup does not know: a content, a pipeline, a deletion.
        plane.apply("feed", feed.pipeline(2), "--wait=good")
        plane.apply("new", QUIET % "new", "--wait=good")
        plane.cli("delete", "pipeline", "doomed")
        until_phases(plane, {"feed": Phase.GOOD, "new": Phase.GOOD})
        feed.until_flowing(version=2)
        before = plane.ask(lambda client: client.get_status())
        running = engines(agent, "feed", "new")

        plane.stop()
        if not state:
            shutil.rmtree(plane.folder / "data")
        said = plane.cli("restore", backup, "--data-dir", plane.folder / "data", *state)
        assert f"instance {before.instance_id} restored" in said
        plane.start()

        until_phases(plane, {"feed": Phase.GOOD, "doomed": Phase.GOOD, "new": Phase.ORPHANED})
        feed.until_flowing(version=1)
        assert engines(agent, "feed", "new") == running
        after = plane.ask(lambda client: client.get_status())
        assert after.instance_id == before.instance_id
        assert after.epoch > before.epoch
        assert after.generation > before.generation
        (restored,) = told(plane, "plane.restored")
        assert "2 pipeline" in restored
        (cut, *_) = told(plane, "plane.history_cut")
        assert "generation" in cut
        assert any("adopt or delete it" in message for message in told(plane, "workload.orphaned"))

        assert "new" in plane.cli("describe", "agent", "a-1")
        plane.cli("adopt", "new", "--agent", "a-1", "--selector", "*")
        until_phases(plane, dict.fromkeys(("feed", "doomed", "new"), Phase.GOOD))
        assert engines(agent, "feed", "new") == running
        assert set(feed.complete(agent).values()) == {1}


def test_an_agent_that_finds_an_empty_plane_runs_on_until_an_operator_decides(tmp_path: Path) -> None:
    with (
        Plane(tmp_path / "old" / "plane") as old,
        Plane(tmp_path / "new" / "plane") as new,
        Line(old.channel) as line,
        Feed(tmp_path / "records") as feed,
    ):
        agent = old.agent("a-1", *SETTLE, via=line.address)
        old.apply("feed", feed.pipeline(), "--wait=good")
        old.apply("spare", QUIET % "spare", "--wait=good")
        running = engines(agent, "feed", "spare")

        token = new.ask(lambda client: client.create_token(ttl_seconds=600)).secret
        (agent.folder / "token").write_text(token)
        line.retarget(new.channel)
        line.sever()
        line.mend()
        until_phases(new, dict.fromkeys(("feed", "spare"), Phase.ORPHANED))
        feed.until_flowing()
        assert engines(agent, "feed", "spare") == running
        assert len(told(new, "workload.orphaned")) == 2
        assert told(new, "plane.history_cut")

        new.cli("adopt", "feed", "--agent", "a-1", "--selector", "*")
        until_phases(new, {"feed": Phase.GOOD, "spare": Phase.ORPHANED})
        assert engines(agent, "feed", "spare") == running
        new.cli("delete", "pipeline", "spare", "--orphaned-on", "a-1")
        until_phases(new, {"feed": Phase.GOOD})
        wait_until(lambda: not agent.engines("spare"), what="the orphan's engine has ended")
        assert agent.engines("feed") == running["feed"]
        # It is the new plane's now: a change through it arrives.
        new.apply("feed", feed.pipeline(2), "--wait=good")
        feed.until_flowing(version=2)
        assert set(feed.complete(agent).values()) == {1}


@pytest.mark.soak
def test_numbers_of_another_plane_are_not_taken_for_this_one_s(tmp_path: Path) -> None:
    """The new plane has counted further than the agent has, and means another content by the same name and number."""
    with (
        Plane(tmp_path / "old" / "plane") as old,
        Plane(tmp_path / "new" / "plane") as new,
        Line(old.channel) as line,
        Feed(tmp_path / "records") as feed,
    ):
        agent = old.agent("a-1", *SETTLE, via=line.address)
        old.apply("feed", feed.pipeline(), "--wait=good")
        new.apply("feed", feed.pipeline(2))
        new.apply("other", QUIET % "other", selector="role=none")
        assert old.ask(lambda client: client.get_pipeline("feed")).generation == 1
        assert new.ask(lambda client: client.get_pipeline("feed")).generation == 1

        (agent.folder / "token").write_text(new.ask(lambda client: client.create_token(ttl_seconds=600)).secret)
        line.retarget(new.channel)
        line.sever()
        line.mend()
        feed.until_flowing(version=2)
        until_phases(new, {"feed": Phase.GOOD})
        assert set(feed.complete(agent).values()) == {1}
