"""A change that would take pipelines away from many agents is refused with the numbers, until it is confirmed."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from headrace.client import enroll
from headrace.messages import EnrollRequest
from headrace.types import Facts, Phase
from tests.processes import wait_until
from tests.system.plane import Plane

pytestmark = [pytest.mark.system, pytest.mark.timeout(120)]

CONFIG = "pipeline: {inputs: [{name: dummy, tag: t}], outputs: [{name: 'null', match: '*'}]}"
FLEET = 11


def enrol(plane: Plane, count: int) -> None:
    """Agents that are there by enrolment only: the guard counts who would lose, not who is connected."""

    async def all_of_them() -> None:
        token = await asyncio.to_thread(
            plane.ask, lambda client: client.create_token(ttl_seconds=600, max_uses=count, labels={"role": "edge"})
        )
        for number in range(count):
            request = EnrollRequest(token=token.secret, facts=Facts(name=f"n-{number}", version="0"))
            await enroll(plane.channel, request)

    asyncio.run(all_of_them())


def test_what_would_empty_the_fleet_is_refused_with_the_numbers(tmp_path: Path) -> None:
    """By deleting it, by a typo in its selector, or by a folder from which it is missing."""
    with Plane(tmp_path / "plane") as plane:
        agent = plane.agent("a-1", "--settle", "0.1", labels={"role": "edge"})
        plane.apply("edge", CONFIG, "--wait=good", selector="role=edge")
        enrol(plane, FLEET - 1)
        (engine,) = agent.engines("edge")
        before = plane.ask(lambda client: client.get_status())

        mistyped = plane.manifest("edge", CONFIG, selector="role=egde")
        other = plane.manifest("other", CONFIG, selector="role=none")
        prune = ("apply", "-f", str(other), "--prune", "-l", "*")
        for change in (
            ("delete", "pipeline", "edge"),
            ("delete", "pipeline", "edge", "--confirm", "10"),
            ("apply", "-f", str(mistyped)),
            prune,
        ):
            said = plane.cli(*change, exits=1)
            assert f"pipelines away from {FLEET} of {FLEET} agents, more than the 5" in said
            assert f"--confirm {FLEET}" in said
        after = plane.ask(lambda client: client.get_status())
        assert (after.generation, after.pipelines) == (before.generation, before.pipelines)
        assert plane.workload("edge", "a-1").phase is Phase.GOOD
        assert agent.engines("edge") == [engine]

        plane.cli(*prune, "--confirm", FLEET)
        wait_until(lambda: not agent.engines("edge"), what="the engine has ended")


@pytest.mark.soak
def test_a_label_that_would_take_pipelines_away_is_refused_where_nothing_may_go(tmp_path: Path) -> None:
    """One agent is within any bound, so this plane's is none."""
    with Plane(tmp_path / "plane", "--confirm-floor", "0") as plane:
        agent = plane.agent("a-1", "--settle", "0.1", "--label", "role=edge")
        plane.apply("edge", CONFIG, "--wait=good", selector="role=edge")
        said = plane.cli("agent", "label", "a-1", "role=core", exits=1)
        assert "pipelines away from 1 of 1 agent, more than the 0" in said
        assert plane.cli.json("get", "agents")[0]["labels"] == {"role": "edge"}
        assert agent.engines("edge")

        plane.cli("agent", "label", "a-1", "role=core", "--confirm", "1")
        wait_until(lambda: not agent.engines("edge"), what="the engine has ended")


def test_what_stays_within_the_bound_needs_no_confirmation(tmp_path: Path) -> None:
    with Plane(tmp_path / "plane") as plane:
        enrol(plane, 5)
        plane.apply("edge", CONFIG, selector="role=edge")
        plane.apply("edge", CONFIG, selector="role=egde")
