"""Two control planes on one Postgres serve one fleet, as real processes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from headrace.types import Phase
from tests.processes import wait_until
from tests.system.line import Line
from tests.system.plane import Plane
from tests.system.records import Feed

pytestmark = [pytest.mark.system, pytest.mark.timeout(180)]

SETTLE = ("--settle", "0.5")


@pytest.fixture
def planes(tmp_path: Path, postgres_url: str) -> Iterator[tuple[Plane, Plane]]:
    state = ("--state", postgres_url, "--heartbeat", "1")
    with ExitStack() as stack:
        yield (
            stack.enter_context(Plane(tmp_path / "one" / "plane", *state)),
            stack.enter_context(Plane(tmp_path / "two" / "plane", *state)),
        )


def test_a_change_through_one_reaches_agents_of_the_other_and_waiting_tells_the_truth(
    planes: tuple[Plane, Plane], tmp_path: Path
) -> None:
    one, two = planes
    with Feed(tmp_path / "records") as feed:
        agents = [plane.agent(name, *SETTLE) for plane, name in zip(planes, ("a-1", "a-2"), strict=True)]
        for version, plane in enumerate((one, two), start=1):
            said = plane.cli.run("apply", "-f", plane.manifest("feed", feed.pipeline(version)), "--wait=good")
            assert said.returncode == 0
            for agent in agents:
                assert f"feed on {agent.name}: good" in said.stderr
                feed.until_flowing(agent.name, version=version)
            for each in planes:
                phases = {name: workload.phase for name, workload in each.workloads("feed").items()}
                assert phases == {"a-1": Phase.GOOD, "a-2": Phase.GOOD}

        # What fails on both is told through both: by the one that was asked, of agents that it does not hold.
        folder = tmp_path / "folder"
        folder.mkdir()
        broken = feed.pipeline(3).replace("db: offsets.db", f"db: {folder}")
        for plane in planes:
            said = plane.apply("feed", broken, "--wait", "--force", exits=1)
            assert "a-1" in said
            assert "a-2" in said
            assert str(folder) in said
        for agent in agents:
            feed.until_flowing(agent.name, version=2)
        assert [agent.facts.name for agent in one.ask(lambda client: client.list_agents())] == ["a-1", "a-2"]


def test_agents_of_a_plane_that_is_killed_move_to_the_other_and_a_wait_there_sees_them(
    planes: tuple[Plane, Plane], tmp_path: Path
) -> None:
    one, two = planes
    with Line(one.channel) as line, Feed(tmp_path / "records") as feed:
        agent = one.agent("a-1", *SETTLE, via=line.address)
        one.apply("feed", feed.pipeline(), "--wait=good")
        engines = agent.engines()

        line.retarget(two.channel)  # as a load balancer does once a backend is gone
        one.kill()
        wait_until(lambda: two.ask(lambda client: client.get_status()).sessions == 1, timeout=60, what="it has moved")
        two.apply("feed", feed.pipeline(2), "--wait=good")
        feed.until_flowing(version=2)
        assert agent.engines() == engines

        # The killed one comes back, and is told the truth by the store.
        one.start()
        one.until("feed", Phase.GOOD)
        one.apply("feed", feed.pipeline(3), "--wait=good")
        feed.until_flowing(version=3)
        kinds = [event.kind for event in one.events()]
        assert "agent.duplicate_identity" not in kinds
        assert set(feed.complete(agent).values()) == {1}


@pytest.mark.soak  # beside those of `tests/controlplane/test_replicas.py`, which are in one process
def test_agents_of_a_plane_that_stops_are_with_the_other_before_it_has_ended(
    planes: tuple[Plane, Plane], tmp_path: Path
) -> None:
    one, two = planes
    with Line(one.channel) as line, Feed(tmp_path / "records") as feed:
        agent = one.agent("a-1", *SETTLE, via=line.address)
        one.apply("feed", feed.pipeline(), "--wait=good")
        line.retarget(two.channel)
        one.stop()
        assert two.ask(lambda client: client.get_status()).sessions == 1
        two.apply("feed", feed.pipeline(2), "--wait=good")
        kinds = [event.kind for event in two.events()]
        assert not {"agent.suspect", "agent.lost", "agent.duplicate_identity"} & set(kinds)
        assert set(feed.complete(agent).values()) == {1}
