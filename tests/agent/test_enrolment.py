"""How an agent gets its identity."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta

import pytest

from agent import enrolment as module
from agent.enrolment import Enrolment
from agent.model import Identity
from agent.settings import SettingsError
from agent.state import State
from headrace.errors import UnauthenticatedError, UnavailableError
from headrace.messages import EnrollRequest, EnrollResponse
from headrace.types import Facts

NOW = datetime(2026, 1, 1, tzinfo=UTC)
GRANTED = EnrollResponse(agent_id="a-1", credential="secret", instance_id="i")


@pytest.fixture
def slept(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """How long it waited each time, instead of waiting."""
    waits: list[float] = []

    async def sleep(seconds: float) -> None:
        waits.append(seconds)

    monkeypatch.setattr(module.asyncio, "sleep", sleep)
    return waits


class Plane:
    """Answers enrolments in turn; the last answer is repeated."""

    def __init__(self, *answers: EnrollResponse | Exception) -> None:
        self.answers = list(answers)
        self.requests: list[EnrollRequest] = []

    async def __call__(self, request: EnrollRequest) -> EnrollResponse:
        self.requests.append(request)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer


def enrolment(
    state: State, call: Callable[[EnrollRequest], Awaitable[EnrollResponse]], token: Callable[[], str] = lambda: "token"
) -> Enrolment:
    return Enrolment(state, token=token, facts=lambda: Facts(name="n"), call=call, now=lambda: NOW, roll=lambda: 1.0)


async def test_a_token_is_swapped_for_an_identity_once(state: State) -> None:
    plane = Plane(GRANTED)
    await enrolment(state, plane).until_enrolled()
    await enrolment(state, plane).until_enrolled()
    assert state.identity == Identity(agent_id="a-1", credential="secret", instance_id="i")
    assert [(request.token, request.facts.name) for request in plane.requests] == [("token", "n")]


async def test_it_goes_on_asking_ever_later(state: State, slept: list[float]) -> None:
    refused = UnauthenticatedError("this token is unknown")
    plane = Plane(
        UnavailableError("nobody there"), refused, refused, refused, refused, refused, refused, refused, GRANTED
    )
    await enrolment(state, plane).until_enrolled()
    assert slept == [1, 2, 4, 8, 16, 32, 60, 60]


async def test_it_waits_for_approval_as_long_as_it_is_told(state: State, slept: list[float]) -> None:
    plane = Plane(EnrollResponse(pending_until=NOW + timedelta(seconds=30)), EnrollResponse(pending_until=NOW), GRANTED)
    await enrolment(state, plane).until_enrolled()
    assert slept == [30, 1]
    assert state.identity is not None


async def test_a_token_file_that_comes_later_is_found(state: State, slept: list[float]) -> None:
    def missing() -> str:
        raise SettingsError("token file cannot be read")

    tokens = iter([missing, lambda: "", lambda: "late"])
    plane = Plane(GRANTED)
    await enrolment(state, plane, lambda: next(tokens)()).until_enrolled()
    assert [request.token for request in plane.requests] == ["late"]
    assert len(slept) == 2


async def test_a_renewal_says_who_it_was_and_loses_nothing_when_it_fails(state: State) -> None:
    old = Identity(agent_id="a-0", credential="old")
    state.save_identity(old)
    plane = Plane(UnauthenticatedError("expired"), GRANTED)
    renewal = enrolment(state, plane)
    assert not await renewal.renew()
    assert state.identity == old
    assert await renewal.renew()
    assert state.identity is not None
    assert state.identity.agent_id == "a-1"
    assert plane.requests[1].claims == {"credential": "old"}


async def test_a_service_account_is_shown_where_there_is_no_bootstrap_token(state: State) -> None:
    for token, claims in (("", {"kubernetes": "projected"}), ("token", {})):
        plane = Plane(GRANTED)
        asking = enrolment(state, plane, lambda token=token: token)  # type: ignore[misc]  # mypy has no lambda defaults
        asking._account = lambda: "projected"
        state.save_identity(None)
        await asking.until_enrolled()
        assert [(request.token, request.claims) for request in plane.requests] == [(token, claims)]
