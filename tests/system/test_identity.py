"""Who an agent is, with real processes: a copy of its folder alarms; a restart and a move to another plane do not."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from headrace import api
from headrace.types import AgentState, Phase
from tests.processes import wait_until
from tests.system.line import Line
from tests.system.plane import Agent, Plane
from tests.system.records import Feed

pytestmark = [pytest.mark.system, pytest.mark.timeout(180)]

SETTLE = ("--settle", "0.5")
ALARM = "agent.duplicate_identity"


def alarms(plane: Plane) -> list[api.Event]:
    return [event for event in plane.events() if event.kind == ALARM]


def copy_of(agent: Agent, plane: Plane, name: str) -> Agent:
    """A second process with a copy of its data folder, as a cloned machine has; not started yet."""
    folder = agent.folder.parent / name
    shutil.copytree(agent.data, folder / "data")
    command = [word.replace(str(agent.folder), str(folder)) for word in agent.command[4:]]
    return Agent(plane, name, command, folder=folder)


def test_of_two_agents_with_one_identity_the_later_stays_and_the_plane_alarms(tmp_path: Path) -> None:
    with Plane(tmp_path / "plane") as plane:
        agent = plane.agent("a-1", *SETTLE)
        copy = copy_of(agent, plane, "a-2")
        try:
            copy.start()
            wait_until(lambda: alarms(plane), timeout=60, what="an alarm")
            (alarm,) = alarms(plane)
            assert alarm.agent_id == agent.id
            assert "two processes use the identity of a-1" in alarm.message
            assert "stop one of them" in alarm.message
            # Both still run; one session is open, the copy's, and the first says why it has none.
            assert agent.program.is_running()
            assert plane.ask(lambda client: client.get_status()).sessions == 1
            agent.program.wait_for(lambda: "uses this identity" in agent.program.output, what="the refusal in its log")
            assert "uses this identity" not in copy.program.output

            # When the copy is gone, the first is let in again, and nobody is alarmed.
            copy.stop()
            agent.kill()
            agent.start()
            agent.until_connected()
            assert len(alarms(plane)) == 1
        finally:
            copy.close()


@pytest.mark.parametrize("how", [pytest.param("stop", marks=pytest.mark.soak), "kill"])
def test_an_agent_that_restarts_takes_its_session_over_without_alarm(tmp_path: Path, how: str) -> None:
    with Plane(tmp_path / "plane") as plane, Feed(tmp_path / "records") as feed:
        agent = plane.agent("a-1", *SETTLE)
        plane.apply("feed", feed.pipeline(), "--wait=good")
        identity = agent.id
        agent.stop() if how == "stop" else agent.kill()
        agent.start()
        agent.until_connected()
        plane.apply("feed", feed.pipeline(2), "--wait=good")
        feed.until_flowing(version=2)
        assert agent.id == identity
        assert alarms(plane) == []
        assert set(feed.complete(agent).values()) == {1}


@pytest.mark.parametrize(
    "moves",
    [pytest.param(2, marks=pytest.mark.soak), pytest.param(20, marks=[pytest.mark.soak, pytest.mark.timeout(900)])],
)
def test_an_agent_that_moves_between_two_planes_is_held_by_the_right_one_without_alarm(
    tmp_path: Path, postgres_url: str, moves: int
) -> None:
    """Back and forth by a line that is cut, under records that flow."""
    state = ("--state", postgres_url, "--heartbeat", "1")
    with (
        Plane(tmp_path / "one" / "plane", *state) as one,
        Plane(tmp_path / "two" / "plane", *state) as two,
        Line(one.channel) as line,
        Feed(tmp_path / "records") as feed,
    ):
        agent = one.agent("a-1", *SETTLE, via=line.address)
        identity = agent.id
        one.apply("feed", feed.pipeline(), "--wait=good")
        for move in range(moves):
            here, version = (two, one)[move % 2], move + 2
            line.retarget(here.channel)
            line.sever()
            line.mend()
            replica = here.ask(lambda client: client.get_status()).replica
            wait_until(
                lambda replica=replica: one.cli.json("get", "agents")[0]["replica"] == replica,  # type: ignore[misc]  # mypy has no lambda defaults
                timeout=60,
                what="it is held there",
            )
            here.apply("feed", feed.pipeline(version), "--wait=good")
            feed.until_flowing(version=version)
        for plane in (one, two):
            (found,) = plane.ask(lambda client: client.list_agents())
            assert (found.id, found.state) == (identity, AgentState.CONNECTED)
            assert plane.workload("feed", "a-1").phase is Phase.GOOD
        assert alarms(one) == []
        assert set(feed.complete(agent).values()) == {1}
