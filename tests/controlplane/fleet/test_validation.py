"""What a change is judged by: the fleet as it is when it is carried out, and without holding up anybody."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest

from controlplane import validate
from controlplane.fleet.validation import Validation
from controlplane.validate import Findings, FleetFacts
from headrace import api
from headrace.api import Manifest
from headrace.errors import ConflictError, InvalidError
from headrace.types import Engine, File
from tests.controlplane.conftest import Rules, manifest

LISTENS = """
pipeline:
  inputs: [{name: http, port: 9880, tag: t}]
  outputs: [{name: 'null', match: '*'}]
"""
USES = """
pipeline:
  inputs: [{name: tail, path: '${LOG}', tag: t}]
  outputs: [{name: 'null', match: '*'}]
"""


def listener(name: str) -> Manifest:
    """A pipeline that wants the same port as every other one of its kind."""
    return replace(manifest(name), config=LISTENS)


class Held:
    """`validate.check`, stopped in its thread before it looks at one pipeline for the first time."""

    def __init__(self, name: str) -> None:
        self.began, self.go = asyncio.Event(), threading.Event()
        self.calls = 0
        self._name = name
        self._loop = asyncio.get_running_loop()
        self._check: Callable[..., dict[str, Findings]] = validate.check

    def __call__(self, manifests: Sequence[Manifest], fleet: FleetFacts) -> dict[str, Findings]:
        if manifests[0].name == self._name:
            self.calls += 1
            if self.calls == 1:
                self._loop.call_soon_threadsafe(self.began.set)
                assert self.go.wait(30)
        return self._check(manifests, fleet)


@pytest.fixture
async def held(monkeypatch: pytest.MonkeyPatch) -> Held:
    held = Held("late")
    monkeypatch.setattr(validate, "check", held)
    return held


async def test_what_became_a_neighbour_while_it_was_checked_is_looked_at_too(rules: Rules, held: Held) -> None:
    await rules.enroll()
    late = asyncio.create_task(rules.apply(listener("late")))
    await held.began.wait()
    await rules.apply(listener("early"))  # the loop is free while the other is checked
    held.go.set()
    with pytest.raises(InvalidError, match=r"port 9880 .* is wanted by pipeline 'early'"):
        await late
    assert held.calls == 2


async def test_what_is_no_neighbour_or_joins_later_is_no_reason_to_check_anew(rules: Rules, held: Held) -> None:
    await rules.enroll(role="edge")
    late = asyncio.create_task(rules.apply(manifest("late", "role=edge")))
    await held.began.wait()
    await rules.apply(manifest("early", "role=other"))
    await rules.enroll("newcomer", role="edge")
    held.go.set()
    (change,) = await late
    assert (held.calls, change.agents) == (1, 2)


async def test_a_fleet_that_never_rests_is_a_conflict_that_says_so(
    rules: Rules, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Validation, "holds", lambda *_, **__: False)
    with pytest.raises(ConflictError, match="changed 5 times while this was checked; try again"):
        await rules.apply(manifest())
    await rules.follow()
    assert rules.view.pipelines == {}


async def test_a_variable_that_was_just_set_counts(rules: Rules) -> None:
    await rules.enroll()
    await rules.follow()
    with pytest.raises(InvalidError, match="variable 'LOG' is not set for agent 'a'"):
        await rules.apply(replace(manifest(), config=USES))
    variable = api.Variable(name="LOG", value="/var/log/x", selector="*")
    await rules.fleet.agents.set_variables(api.SetVariablesRequest(set=(variable,)), author="ann")
    await rules.apply(replace(manifest(), config=USES))


@pytest.mark.parametrize(
    ("name", "why"), [("LD_PRELOAD", "would change the engine itself"), ("HEADRACE_AGENT", "the agent's own")]
)
async def test_a_variable_that_is_not_for_operators_is_refused_when_it_is_set(
    rules: Rules, name: str, why: str
) -> None:
    variable = api.Variable(name=name, value="x", selector="*")
    with pytest.raises(InvalidError, match=why):
        await rules.fleet.agents.set_variables(api.SetVariablesRequest(set=(variable,)), author="ann")


async def test_contents_are_read_for_those_alone_that_share_an_agent(
    rules: Rules, monkeypatch: pytest.MonkeyPatch
) -> None:
    await rules.enroll("a", role="edge")
    await rules.enroll("b", role="core")
    await rules.apply(manifest("beside", "role in (edge,other)", tag="1"), manifest("apart", "role=core", tag="2"))
    seen: list[FleetFacts] = []
    check = validate.check

    def noted(manifests: Sequence[Manifest], fleet: FleetFacts) -> Any:
        seen.append(fleet)
        return check(manifests, fleet)

    monkeypatch.setattr(validate, "check", noted)
    await rules.apply(manifest("new", "role=edge"))
    assert set(seen[0].pipelines) == {"beside"}


async def test_what_could_not_be_checked_is_said_with_a_refusal_too(rules: Rules) -> None:
    with pytest.raises(InvalidError) as caught:
        await rules.apply(replace(manifest(), config=USES, files=(File(name="data"),)))
    assert any("plugins are not checked" in fault.message for fault in caught.value.faults)


async def test_a_change_right_at_the_start_waits_for_the_embedded_catalogue(rules: Rules) -> None:
    asking = asyncio.create_task(rules.catalogues.ask_embedded())
    await asyncio.sleep(0)
    wrong = replace(manifest(), config=LISTENS.replace("http, port", "htpt, port"), engine=Engine.EMBEDDED)
    with pytest.raises(InvalidError, match="htpt"):
        await rules.apply(wrong)
    await asking
