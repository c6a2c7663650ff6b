"""Restored and foreign planes: nothing stops, what is unknown is an orphan, generations never go back."""

from __future__ import annotations

from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from controlplane.app import opened
from headrace.client import PlaneSeen
from headrace.errors import ConflictError, NotFoundError
from headrace.messages import Answer, Command, Remove
from headrace.testing import FakeAgent, SeverableProxy
from headrace.types import Attempt, AttemptState, CommandKind, Facts, Health, Observed, Phase, Running
from tests.controlplane.conftest import Plane, Start, manifest
from tests.processes import eventually


async def phases(plane: Plane, agent_id: str) -> dict[str, Phase]:
    return {workload.pipeline: workload.phase for workload in (await plane.client.get_agent(agent_id)).workloads}


async def until_phases(plane: Plane, agent_id: str, expected: dict[str, Phase]) -> None:
    async def reached() -> bool:
        return await phases(plane, agent_id) == expected

    try:
        await eventually(reached, timeout=30)
    except AssertionError:
        assert await phases(plane, agent_id) == expected


async def test_after_a_restore_the_fleet_converges_and_nothing_is_stopped(start: Start, tmp_path: Path) -> None:
    async with AsyncExitStack() as first:
        plane = await first.enter_async_context(start())
        address = plane.running.ready.channel
        async with FakeAgent(address, token=await plane.token(), facts=Facts(name="a", labels={"x": "1"})) as agent:
            await plane.client.apply_pipelines([manifest("kept"), manifest("moved", "x=2"), manifest("doomed")])
            await agent.until(lambda a: set(a.observed()) == {"kept", "doomed"})
            backup = [piece async for piece in plane.client.backup()]
            # What the backup does not know: a new pipeline, a deletion, a selector, a new content.
            await plane.client.apply_pipelines([manifest("new"), manifest("moved", "x=1"), manifest("kept", tag="u")])
            await plane.client.delete_pipelines(["doomed"])
            await agent.until(lambda a: set(a.observed()) == {"kept", "new", "moved"} and b"u" in a.contents["kept"])
            before = plane.running.view.plane
            history = len(agent.history)
            await first.aclose()
            async with opened(f"sqlite:///{tmp_path / 'restored' / 'state.db'}") as store:
                await store.load(backup)
            async with start(data="restored", channel=address) as plane:
                await until_phases(
                    plane,
                    agent.agent_id,
                    {"kept": Phase.GOOD, "doomed": Phase.GOOD, "new": Phase.ORPHANED, "moved": Phase.ORPHANED},
                )
                after = plane.running.view.plane
                assert after.instance_id == before.instance_id
                assert after.epoch > before.epoch
                assert after.generation > before.generation
                assert not [message for message in agent.history[history:] if isinstance(message, Remove)]
                assert set(agent.observed()) == {"kept", "new", "moved", "doomed"}
                kinds = {event.kind for event in await plane.events()}
                assert {"plane.restored", "plane.history_cut", "workload.orphaned"} <= kinds


async def test_an_agent_of_another_plane_keeps_what_it_runs_until_somebody_decides(start: Start) -> None:
    async with AsyncExitStack() as stack:
        old = await stack.enter_async_context(start(data="old"))
        async with SeverableProxy(old.running.ready.channel) as proxy:
            token = await old.token()
            async with FakeAgent(proxy.address, token=token, facts=Facts(name="a")) as elsewhere:
                await old.client.apply_pipelines([manifest("mine"), manifest("theirs"), manifest("shared")])
                await elsewhere.until(lambda a: set(a.observed()) == {"mine", "theirs", "shared"})

        new = await stack.enter_async_context(start(data="new"))
        await new.client.apply_pipelines([manifest("shared", tag="u")])

        def upload(command: Command) -> Answer:
            return Answer(command_id=command.id, ok=False, message="not now")

        agent = FakeAgent(new.running.ready.channel, token=await new.token(), facts=Facts(name="a"), answer=upload)
        for observed in elsewhere.observed().values():
            agent.report(observed)
        async with agent:
            await until_phases(
                new, agent.agent_id, {"mine": Phase.ORPHANED, "theirs": Phase.ORPHANED, "shared": Phase.GOOD}
            )
            assert agent.observed()["shared"].desired > elsewhere.observed()["shared"].desired

            await new.client.delete_pipelines(["theirs"], orphaned_on=agent.agent_id)
            await until_phases(new, agent.agent_id, {"mine": Phase.ORPHANED, "shared": Phase.GOOD})
            assert set(agent.observed()) == {"mine", "shared"}
            with pytest.raises(NotFoundError, match="no orphaned workload 'shared'"):
                await new.client.delete_pipelines(["shared"], orphaned_on=agent.agent_id)
            with pytest.raises(NotFoundError, match="no orphaned workload 'shared'"):
                await new.client.adopt_workload("shared", agent.agent_id, selector="*")


@pytest.mark.parametrize("generation", [1, 2, 3, 6, 7, 50])
async def test_a_number_of_another_plane_never_passes_for_our_content(start: Start, generation: int) -> None:
    async with start() as plane:
        await plane.client.apply_pipelines([manifest("first")])
        await plane.client.apply_pipelines([manifest("edge")])  # generation 2
        for tag in "abcd":
            await plane.client.apply_pipelines([manifest("first", tag=tag)])  # the counter goes to 6
        sha256 = (await plane.client.get_pipeline("edge")).sha256
        agent = await plane.agent()
        agent.report(
            Observed(
                pipeline="edge",
                desired=generation,
                attempt=Attempt(generation=generation, state=AttemptState.OK),
                running=Running(generation=generation, sha256="f" * 64, health=Health.HEALTHY),
                good=generation,
            )
        )
        async with agent:
            await agent.until(lambda a: a.observed()["edge"].running.sha256 == sha256)
            await until_phases(plane, agent.agent_id, {"edge": Phase.GOOD, "first": Phase.GOOD})
            assert agent.observed()["edge"].desired > max(generation, 1)


async def test_an_orphan_is_adopted_with_its_content_and_without_touching_it(start: Start) -> None:
    async with AsyncExitStack() as stack:
        old = await stack.enter_async_context(start(data="old"))
        async with await old.agent() as elsewhere:
            await old.client.apply_pipelines([manifest("mine")])
            await elsewhere.until(lambda a: "mine" in a.observed())
        content = elsewhere.contents["mine"]
        observed = elsewhere.observed()["mine"]
        assert observed.running is not None

        new = await stack.enter_async_context(start(data="new"))

        async def answer(agent: FakeAgent, command: Command) -> Answer:
            assert (command.kind, command.pipeline) == (CommandKind.UPLOAD, "mine")
            await agent.channel.put_blob(command.sha256, content)
            return Answer(command_id=command.id, ok=True)

        class Uploading(FakeAgent):
            async def on_command(self, command: Command) -> Answer:
                return await answer(self, command)

        token = await new.token()
        async with Uploading(new.running.ready.channel, token=token, facts=Facts(name="b", labels={"n": "1"})) as agent:
            agent.report(observed)
            await until_phases(new, agent.agent_id, {"mine": Phase.ORPHANED})
            change = await new.client.adopt_workload("mine", agent.agent_id, selector="n=1")
            assert (change.revision, change.agents) == (1, 1)
            await until_phases(new, agent.agent_id, {"mine": Phase.GOOD})
            running = agent.observed()["mine"].running
            assert running is not None
            assert running.sha256 == observed.running.sha256
            with pytest.raises((ConflictError, NotFoundError)):
                await new.client.adopt_workload("mine", agent.agent_id, selector="n=1")


async def test_an_agent_that_went_ahead_raises_the_epoch_of_its_own_instance(start: Start, tmp_path: Path) -> None:
    async with start() as plane:
        backup = [piece async for piece in plane.client.backup()]
        instance = plane.running.view.plane.instance_id
        token = await plane.token()
        assert token
    async with opened(f"sqlite:///{tmp_path / 'again' / 'state.db'}") as store:
        await store.load(backup)
    async with start(data="again") as plane:
        agent = FakeAgent(plane.running.ready.channel, token=await plane.token(), facts=Facts(name="a"))
        agent._plane = type(agent._plane)(instance_id=instance, epoch=7)
        async with agent:
            await agent.until(lambda a: a.plane().epoch == 8)
            assert plane.running.view.plane.epoch == 8
            (event,) = await plane.events("plane.history_cut")
            assert "has seen epoch 7" in event.message


@pytest.mark.parametrize("generation", [1, 2, 4])
@pytest.mark.parametrize("health", [Health.HEALTHY, None])
async def test_the_number_of_another_plane_s_content_is_never_taken_for_ours(
    start: Start, generation: int, health: Health | None
) -> None:
    """Lower than ours, equal, and higher but within what was counted here; running there, or failed there."""
    async with start() as plane:
        await plane.client.apply_pipelines([manifest("edge", tag="a")])
        await plane.client.apply_pipelines([manifest("edge", tag="b")])
        await plane.client.apply_pipelines([manifest(f"other-{n}", "x=1") for n in range(4)])
        ours = await plane.client.get_pipeline("edge")
        assert (ours.generation, (await plane.client.get_status()).generation) == (2, 6)
        agent = await plane.agent()
        agent._plane = PlaneSeen(instance_id="another", epoch=1)
        state = AttemptState.FAILED if health is None else AttemptState.OK
        running = Running(generation=generation, sha256="f" * 64, health=health) if health else None
        agent.report(
            Observed(
                pipeline="edge",
                desired=generation,
                attempt=Attempt(generation=generation, state=state, quarantined=health is None),
                running=running,
            )
        )
        async with agent:
            await until_phases(plane, agent.agent_id, {"edge": Phase.GOOD})
            now = agent.observed()["edge"].running
            assert now is not None
            assert now.sha256 == ours.sha256


async def test_a_history_that_was_cut_unseen_is_known_by_what_an_agent_runs(start: Start) -> None:
    """A data folder put back as a copy: instance, epoch and counter look as if nothing had happened."""
    async with start() as plane:
        await plane.client.apply_pipelines([manifest("edge"), manifest("other")])
        sha256 = (await plane.client.get_pipeline("edge")).sha256
        async with await plane.agent() as agent:
            await agent.until(lambda a: len(a.observed()) == 2)
            await until_phases(plane, agent.agent_id, {"edge": Phase.GOOD, "other": Phase.GOOD})
            was = agent.observed()["edge"].desired
            agent.report(
                Observed(
                    pipeline="edge",
                    desired=was,
                    attempt=Attempt(generation=was, state=AttemptState.OK),
                    running=Running(generation=was, sha256="f" * 64, health=Health.HEALTHY),
                )
            )
            await agent.until(lambda a: a.observed()["edge"].desired > was)
            running = agent.observed()["edge"].running
            assert running is not None
            assert running.sha256 == sha256
            (event,) = await plane.events("plane.history_cut")
            assert f"another content as generation {was} of pipeline 'edge'" in event.message
