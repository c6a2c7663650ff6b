"""The agent's certificate is renewed in time; at whatever step it is killed, it has one that is good."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import pytest

from agent.model import Identity
from agent.rotation import LONGEST_WAIT_S, Rotation
from agent.state import State
from headrace.errors import HeadraceError, UnauthenticatedError, UnavailableError
from headrace.messages import Authorities, EnrollRequest, EnrollResponse
from headrace.types import Facts
from tests.processes import eventually

NOW = datetime(2026, 1, 1, tzinfo=UTC)
LIFE = timedelta(hours=24)


class Killed(BaseException):
    """The process ends here."""


class Plane:
    """Takes a credential that it gave, and after a commit only that one. `kill` ends the agent at a step."""

    def __init__(self, kill: str = "") -> None:
        self.current, self.next = "c-0", ""
        self.kill = kill
        self.count = 0
        self.moves = 0

    def takes(self, identity: Identity | None) -> bool:
        return identity is not None and identity.credential in {self.current, self.next} - {""}

    async def call(self, request: EnrollRequest) -> EnrollResponse:
        what = request.claims["renew"]
        assert request.csr == b"csr"
        self._die(f"before {what}")
        if what == "begin":
            self.count += 1
            self.next = f"c-{self.count}"
            self._die("after begin")
            return EnrollResponse(
                agent_id="a", credential=self.next, certificate=b"pem", certificate_until=NOW + 2 * LIFE
            )
        if request.claims["credential"] not in (self.current, self.next):
            raise UnauthenticatedError("not given")
        self.current, self.next = request.claims["credential"], ""
        self._die("after commit")
        return EnrollResponse(agent_id="a")

    def move(self) -> None:
        self.moves += 1
        self._die("before the session")

    def _die(self, step: str) -> None:
        if self.kill == step:
            self.kill = ""
            raise Killed(step)


class Agent:
    """A rotation over the state of a folder; `session` stands for the channel's next one."""

    def __init__(self, folder: Path, plane: Plane, now: datetime = NOW + LIFE) -> None:
        self.now = now
        self.plane = plane
        self.state = State(folder)
        self.state.open()
        self.rotation = Rotation(
            self.state,
            facts=lambda: Facts(name="n"),
            request=lambda: b"csr",
            call=plane.call,
            move=plane.move,
            now=lambda: self.now,
            roll=lambda: 0.0,
        )

    async def session(self) -> None:
        """The next session opens with what is on disk, as `agent.handler` has it."""
        assert self.plane.takes(self.state.next_identity or self.state.identity)
        if self.state.next_identity is not None:
            await self.rotation.commit()

    async def renew(self) -> None:
        await self.rotation.step()
        await self.session()


def first() -> Identity:
    return Identity(
        agent_id="a", credential="c-0", certificate="pem", certificate_from=NOW, certificate_until=NOW + LIFE
    )


@pytest.fixture
def folder(data_dir: Path) -> Path:
    state = State(data_dir)
    state.open()
    state.save_identity(first())
    state.close()
    return data_dir


@pytest.mark.parametrize(("share", "asks"), [(0.0, 0), (0.66, 0), (0.67, 1), (1.0, 1), (2.0, 1)])
async def test_it_is_due_at_two_thirds_of_the_life_and_ever_after(folder: Path, share: float, asks: int) -> None:
    plane = Plane()
    agent = Agent(folder, plane, NOW + LIFE * share)
    await agent.rotation.step()
    assert (plane.count, plane.moves) == (asks, asks)
    assert agent.state.identity == first()  # until the next one has opened a session
    agent.state.close()


async def test_the_next_identity_takes_over_once_it_has_opened_a_session(folder: Path) -> None:
    plane = Plane()
    agent = Agent(folder, plane)
    await agent.renew()
    assert agent.state.next_identity is None
    assert agent.state.identity is not None
    assert (agent.state.identity.credential, agent.state.identity.certificate_from) == ("c-1", NOW + LIFE)
    await agent.rotation.step()
    assert plane.count == 1  # nothing is due for a while
    agent.state.close()
    assert {path.stat().st_mode & 0o777 for path in folder.glob("identity*.json")} == {0o600}


@pytest.mark.parametrize("step", ["before begin", "after begin", "before the session", "before commit", "after commit"])
async def test_killed_at_any_step_it_comes_back_and_ends_with_one_that_is_good(folder: Path, step: str) -> None:
    plane = Plane(kill=step)
    agent = Agent(folder, plane)
    with pytest.raises(Killed, match=step):
        await agent.renew()
    agent.state.close()
    agent = Agent(folder, plane)  # it starts again
    await agent.session()
    await agent.renew()
    assert agent.state.next_identity is None
    assert agent.state.identity is not None
    assert agent.state.identity.credential == plane.current != "c-0"
    agent.state.close()


async def test_killed_between_the_two_files_it_takes_the_newer_one(folder: Path) -> None:
    plane = Plane()
    agent = Agent(folder, plane)
    await agent.rotation.step()
    following = agent.state.next_identity
    plane.current, plane.next = plane.next, ""
    agent.state.save_identity(following)
    agent.state.close()
    again = Agent(folder, plane)
    assert (again.state.identity, again.state.next_identity) == (following, None)
    assert not (folder / "identity.next.json").exists()
    again.state.close()


async def test_a_next_identity_that_is_refused_is_dropped_and_the_old_one_stays(folder: Path) -> None:
    plane = Plane()
    agent = Agent(folder, plane)
    await agent.rotation.step()
    plane.next = ""  # it was restored from a backup
    await agent.rotation.commit()
    assert agent.state.next_identity is None
    assert agent.state.identity == first()
    agent.state.close()


async def test_a_control_plane_that_is_away_is_asked_again_soon(folder: Path) -> None:
    async def away(request: EnrollRequest) -> EnrollResponse:
        raise UnavailableError("nobody there")

    plane = Plane()
    agent = Agent(folder, plane)
    agent.rotation._call = away
    with pytest.raises(HeadraceError, match="nobody there"):
        await agent.rotation.step()
    assert 0 < agent.rotation._wait_s() <= LONGEST_WAIT_S
    agent.rotation._call = plane.call
    await agent.renew()
    assert plane.current == "c-1"
    agent.state.close()


async def test_an_agent_without_a_certificate_renews_nothing(data_dir: Path) -> None:
    plane = Plane()
    agent = Agent(data_dir, plane)
    agent.state.save_identity(Identity(agent_id="a", credential="c-0"))
    await agent.rotation.step()
    assert plane.count == 0
    agent.state.close()


ONE, TWO = (f"-----BEGIN CERTIFICATE-----\n{name}\n-----END CERTIFICATE-----\n" for name in ("one", "two"))


async def test_told_that_another_authority_signs_it_renews_at_once_and_once(folder: Path) -> None:
    plane = Plane()
    agent = Agent(folder, plane, NOW)
    agent.state.save_identity(replace(first(), ca_bundle=ONE))
    late = Authorities(ca_bundle=(TWO + ONE).encode(), renew_within_ms=1)

    async def moved(times: int) -> bool:
        return plane.moves == times

    async with asyncio.TaskGroup() as group:
        running = group.create_task(agent.rotation.run())
        for times in (1, 2):  # a second session says it again, should the first have been too short
            agent.rotation.tell(late)
            await eventually(partial(moved, times))
        running.cancel()
    assert plane.count == 1
    following = agent.state.next_identity
    assert following is not None
    agent.state.save_next(replace(following, ca_bundle=TWO + ONE))
    await agent.session()
    agent.rotation.tell(late)  # what was on its way while it renewed
    await agent.rotation.step()
    assert plane.count == 1
    assert agent.rotation._due() != NOW
    agent.state.close()


async def test_that_the_older_authority_ended_is_kept_and_renews_nothing(folder: Path) -> None:
    plane = Plane()
    agent = Agent(folder, plane, NOW)
    agent.state.save_identity(replace(first(), ca_bundle=TWO + ONE))
    agent.rotation.tell(Authorities(ca_bundle=TWO.encode()))
    await agent.rotation.step()
    assert plane.count == 0
    assert agent.state.identity is not None
    assert agent.state.identity.ca_bundle == TWO
    agent.state.close()
