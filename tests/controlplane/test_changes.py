"""The view follows the store, by its change log where that is enough and from scratch where it is not."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from controlplane.changes import Changes, follow
from controlplane.model import ChangeRow, Topic
from controlplane.state.store import Store
from controlplane.view import Delta, View
from headrace import api, codec
from headrace.api import Variable
from headrace.messages import Desired, Remove
from tests.controlplane.conftest import Rules, manifest


def picture(view: View) -> tuple[object, ...]:
    """What a view says, to compare with another."""
    return (
        view.plane,
        {name: (p.row, p.desired, p.remove) for name, p in view.pipelines.items()},
        {key: (a.row, a.labels) for key, a in view.agents.items()},
        [row for row, _ in view.variables],
    )


async def fresh(rules: Rules) -> View:
    view = View()
    async with rules.store.read() as reader:
        await follow(view, reader)
    return view


async def test_following_step_by_step_ends_where_reading_everything_does(rules: Rules) -> None:
    await rules.follow()
    agent = (await rules.enroll("a", role="edge")).agent_id
    await rules.follow()
    await rules.apply(manifest("one"), manifest("two", "role=edge"))
    await rules.follow()
    await rules.fleet.agents.set_variables(api.SetVariablesRequest(set=(Variable(name="X", value="1"),)), author="ann")
    await rules.fleet.agents.set_labels(api.SetLabelsRequest(agent=agent, set={"zone": "z"}), author="ann")
    await rules.fleet.pipelines.delete(api.DeletePipelinesRequest(names=("one",)), author="ann")
    await rules.follow()
    assert picture(rules.view) == picture(await fresh(rules))


async def test_a_reader_that_acts_on_the_view_is_told_each_change_once(rules: Rules) -> None:
    assert rules.view.take().everything
    await rules.apply(manifest())
    await rules.apply(manifest(tag="u"))
    await rules.follow()
    assert rules.view.take() == Delta(pipelines=frozenset({"edge"}))
    await rules.follow()
    assert rules.view.take() == Delta()


async def test_an_older_batch_never_takes_a_view_back(rules: Rules) -> None:
    await rules.apply(manifest())
    async with rules.store.read() as earlier:
        await earlier.plane()
        await rules.apply(manifest(tag="u"))
        await rules.follow()
        now = picture(rules.view)
        await follow(rules.view, earlier)
    assert picture(rules.view) == now


async def test_a_view_whose_changes_were_trimmed_away_reads_everything(rules: Rules) -> None:
    stale = await fresh(rules)
    stale.take()
    await rules.apply(manifest("gone"), manifest("kept"))
    await rules.fleet.pipelines.delete(api.DeletePipelinesRequest(names=("gone",)), author="ann")
    await rules.store.trim(ChangeRow, older_than=datetime.now(UTC) + timedelta(days=1))
    await rules.apply(manifest("kept", tag="u"))
    async with rules.store.read() as reader:
        await follow(stale, reader)
    assert stale.take().everything
    assert picture(stale) == picture(await fresh(rules))


async def test_more_changes_than_a_page_holds_are_all_seen(rules: Rules) -> None:
    agent = (await rules.enroll()).agent_id
    await rules.follow()
    rules.view.take()
    async with rules.store.write() as tx:
        tx.log(Topic.COMMAND, *(f"c-{number}" for number in range(2500)))
        tx.log(Topic.AGENT, agent)
    await rules.follow()
    delta = rules.view.take()
    assert len(delta.commands) == 2500
    assert delta.agents == {agent}


async def test_the_messages_of_a_pipeline_say_what_its_row_says(rules: Rules) -> None:
    await rules.apply(manifest())
    await rules.follow()
    view = rules.view.pipelines["edge"]
    desired = codec.decode_server(view.desired)
    assert isinstance(desired, Desired)
    assert (desired.pipeline, desired.generation, desired.sha256) == ("edge", 1, view.row.sha256)
    await rules.fleet.pipelines.delete(api.DeletePipelinesRequest(names=("edge",), purge=True), author="ann")
    await rules.follow()
    view = rules.view.pipelines["edge"]
    assert view.desired == b""
    assert codec.decode_server(view.remove) == Remove(pipeline="edge", generation=2, purge=True)


class Hintless:
    """A store whose hints are all lost."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def on_commit(self, hint: Callable[[int], None]) -> Callable[[], None]:
        return lambda: None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)


@pytest.mark.parametrize("hints", [True, False])
async def test_a_waiter_is_woken_by_a_hint_and_without_one_by_a_look(rules: Rules, hints: bool) -> None:
    store: Any = rules.store if hints else Hintless(rules.store)
    changes = Changes(store, poll_s=3600 if hints else 0.05)
    async with asyncio.timeout(10), asyncio.TaskGroup() as tasks:
        following = tasks.create_task(changes.run())
        for _ in range(3):
            async with rules.store.write() as tx:
                tx.event("test.happened", "x")
            revision = (await rules.events())[-1].revision
            assert await changes.changed(revision - 1) >= revision
        following.cancel()
