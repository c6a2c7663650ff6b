"""What agents report becomes state, transitions and events; what operators ask of workloads reaches them."""

from __future__ import annotations

import asyncio
import hashlib
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from controlplane.incidents import incident, trouble_of
from headrace.api import Variable
from headrace.errors import InvalidError, NotFoundError
from headrace.messages import Answer, Command, Desired
from headrace.testing import FakeAgent
from headrace.types import (
    Attempt,
    AttemptState,
    CommandKind,
    Engine,
    EngineInfo,
    Facts,
    Fault,
    Health,
    Observed,
    Phase,
    Running,
    Severity,
    Step,
)
from tests.controlplane.conftest import Plane, Start, manifest
from tests.processes import eventually


def attempt(
    generation: int, state: AttemptState, *, running: int = 0, sha256: str = "", health: Health = Health.HEALTHY
) -> Observed:
    """A report about pipeline `edge`."""
    faults = (Fault(message="no such property 'regx'; did you mean 'regex'?", plugin="grep", property="regx"),)
    failed = state is AttemptState.FAILED
    return Observed(
        pipeline="edge",
        desired=generation,
        attempt=Attempt(
            generation=generation,
            state=state,
            step=Step.VALIDATE if failed else None,
            faults=faults if failed else (),
            quarantined=failed,
            at=datetime.now(UTC),
        ),
        running=Running(generation=running, sha256=sha256, health=health) if running else None,
    )


def fails_from(generation: int) -> Any:
    """Runs generations before this one, and fails at it."""

    def outcome(desired: Desired, before: Observed | None) -> Observed:
        if desired.generation < generation:
            return attempt(desired.generation, AttemptState.OK, running=desired.generation, sha256=desired.sha256)
        failed = attempt(desired.generation, AttemptState.FAILED)
        return replace(failed, running=before.running) if before else failed

    return outcome


async def until_phase(plane: Plane, phase: str) -> None:
    async def reached() -> bool:
        return (await plane.client.get_pipeline("edge")).phases == {phase: 1}

    await eventually(reached, what=phase)


async def test_a_failure_is_told_with_its_plugin_its_reason_and_what_runs_on(start: Start) -> None:
    async with start() as plane, await plane.agent(name="a-1", outcome=fails_from(2)) as agent:
        await plane.client.apply_pipelines([manifest()])
        await until_phase(plane, "running")
        await plane.client.apply_pipelines([manifest(tag="u")])
        await until_phase(plane, "failed")
        (event,) = await eventually(lambda: plane.events("workload.failed"))
        assert (event.severity, event.pipeline, event.agent_id, event.generation) == (
            Severity.ERROR,
            "edge",
            agent.agent_id,
            2,
        )
        assert event.message == (
            "a-1: generation 2 failed at step validate: grep: no such property 'regx'; did you mean 'regex'?; "
            "generation 1 runs on"
        )
        sha256 = (await plane.client.get_pipeline("edge")).sha256
        agent.report(attempt(2, AttemptState.OK, running=2, sha256=sha256))
        await until_phase(plane, "running")
        await eventually(lambda: plane.events("workload.recovered"))


async def test_a_trouble_that_is_tried_again_and_again_is_told_once(start: Start) -> None:
    async with start() as plane, await plane.agent(outcome=fails_from(1)) as agent:
        await plane.client.apply_pipelines([manifest()])
        await until_phase(plane, "failed")
        for _ in range(3):
            agent.report(attempt(1, AttemptState.APPLYING))
            await until_phase(plane, "applying")
            agent.report(attempt(1, AttemptState.FAILED))
            await until_phase(plane, "failed")
        assert len(await plane.events("workload.failed")) == 1
        await plane.client.apply_pipelines([manifest(tag="u")])

        async def second() -> bool:
            return len(await plane.events("workload.failed")) == 2

        await eventually(second)


def test_every_phase_of_trouble_is_told_and_its_end_too() -> None:
    for phase in Phase:
        observed = attempt(3, AttemptState.OK, running=3)
        told = incident(trouble=None, phase=phase, observed=observed)
        assert (told is not None) == (trouble_of(phase, observed) is not None)
        assert incident(trouble=trouble_of(phase, observed), phase=phase, observed=observed) is None
        if told is not None:
            ended = incident(trouble=trouble_of(phase, observed), phase=Phase.GOOD, observed=observed)
            assert ended is not None
            assert ended.kind == "workload.recovered"


async def test_a_change_is_pending_from_its_commit_on_every_agent(start: Start) -> None:
    async with start() as plane:
        agent = await plane.agent()
        async with agent:
            await plane.client.apply_pipelines([manifest()])
            await until_phase(plane, "good")
        await plane.client.apply_pipelines([manifest(tag="u")])
        assert (await plane.client.get_pipeline("edge")).phases == {"pending": 1}


async def test_what_agents_report_outlives_a_restart_of_the_control_plane(start: Start, tmp_path) -> None:
    async with start() as plane, await plane.agent() as agent:
        await plane.client.apply_pipelines([manifest()])
        await until_phase(plane, "good")
        before = await plane.client.get_agent(agent.agent_id)
    async with start() as plane:
        after = await plane.client.get_agent(before.id)
        assert after.workloads[0].observed == before.workloads[0].observed
        assert after.workloads[0].changed_at == before.workloads[0].changed_at


async def test_restart_retry_and_logs_reach_the_agents_that_run_the_pipeline(start: Start) -> None:
    def answer(command: Command) -> Answer:
        output = "\n".join(f"line {number}" for number in range(command.lines)).encode()
        return Answer(command_id=command.id, ok=command.kind is not CommandKind.RETRY, message="said", output=output)

    async with start() as plane, await plane.agent(name="one", answer=answer) as agent:
        with pytest.raises(NotFoundError, match="no agent runs pipeline 'edge'"):
            await plane.client.restart_pipeline("edge")
        await plane.client.apply_pipelines([manifest()])
        await until_phase(plane, "good")
        (result,) = await plane.client.restart_pipeline("edge")
        assert (result.agent_id, result.agent_name, result.ok) == (agent.agent_id, "one", True)
        (result,) = await plane.client.retry_pipeline("edge")
        assert (result.ok, result.message) == (False, "said")
        assert await plane.client.get_logs("edge", "one", lines=2) == "line 0\nline 1"
        assert await plane.client.get_logs("edge", "", lines=1) == "line 0"
        assert [command.kind for command in agent.commands] == ["restart", "retry", "logs", "logs"]
        with pytest.raises(NotFoundError, match="no agent with labels 'x=y'"):
            await plane.client.retry_pipeline("edge", selector="x=y")
        async with await plane.agent(name="two", answer=answer) as other:
            await other.until(lambda a: "edge" in a.observed())
            with pytest.raises(InvalidError, match="2 agents run pipeline 'edge'; say which: one, two"):
                await plane.client.get_logs("edge", "")


async def test_an_agent_that_is_away_is_not_asked(start: Start) -> None:
    async with start() as plane:
        agent = await plane.agent()
        async with agent:
            await plane.client.apply_pipelines([manifest()])
            await until_phase(plane, "good")
        await eventually(lambda: plane.events("agent.left"))
        (result,) = await plane.client.restart_pipeline("edge")
        assert (result.ok, result.message) == (False, "not reachable: lost")


async def test_a_catalogue_is_uploaded_once_for_the_whole_fleet(start: Start) -> None:
    catalogue = b'{"fluent-bit": {"version": "1"}}'
    sha256 = hashlib.sha256(catalogue).hexdigest()
    facts = Facts(name="a", engines=(EngineInfo(engine=Engine.FLUENT_BIT, catalogue_sha256=sha256),))
    uploads = []

    class Uploading(FakeAgent):
        async def on_command(self, command: Command) -> Answer:
            uploads.append(command.kind)
            await self.channel.put_blob(command.sha256, catalogue)
            return Answer(command_id=command.id, ok=True)

    async with start() as plane:
        token = await plane.token()
        async with Uploading(plane.running.ready.channel, token=token, facts=facts):
            await eventually(lambda: uploads == [CommandKind.UPLOAD])
        async with Uploading(plane.running.ready.channel, token=token, facts=facts) as second:
            await second.until(lambda a: a.completed > 0)
            assert uploads == [CommandKind.UPLOAD]


async def test_a_blob_that_nobody_asked_for_is_refused_and_one_of_others_is_not_given(start: Start) -> None:
    async with start() as plane, await plane.agent(labels={"x": "1"}) as agent:
        await agent.until(lambda a: a.completed > 0)
        with pytest.raises(NotFoundError, match="was not asked for"):
            await agent.channel.put_blob(hashlib.sha256(b"{}").hexdigest(), b"{}")
        await plane.client.apply_pipelines([manifest("secret", "x=2")])
        sha256 = (await plane.client.get_pipeline("secret")).sha256
        with pytest.raises(NotFoundError):
            await agent.channel.get_blob(sha256)
        await plane.client.apply_pipelines([manifest("open", "x=1")])
        await agent.until(lambda a: "open" in a.observed())
        assert await agent.channel.get_blob((await plane.client.get_pipeline("open")).sha256)


async def test_new_facts_change_labels_and_so_what_is_desired(start: Start) -> None:
    async with start() as plane, await plane.agent(labels={"x": "1"}) as agent:
        await plane.client.apply_pipelines([manifest("one", "x=1"), manifest("two", "x=2")])
        await agent.until(lambda a: set(a.observed()) == {"one"})
        agent.set_facts(Facts(name="renamed", labels={"x": "2"}))
        await agent.until(lambda a: set(a.observed()) == {"two"})
        assert (await plane.client.get_agent("renamed")).id == agent.agent_id


async def test_variables_follow_selectors_and_the_more_specific_one_wins(start: Start) -> None:
    async with start() as plane, await plane.agent(labels={"x": "1", "y": "1"}) as agent:
        await plane.client.set_variables(
            set=[
                Variable(name="HOST", value="any"),
                Variable(name="HOST", value="two", selector="x=1,y=1"),
                Variable(name="HOST", value="one", selector="x=1"),
                Variable(name="OTHER", value="no", selector="x=2"),
            ]
        )
        await agent.until(lambda a: a.variables.values == {"HOST": "two"})
        await plane.client.set_variables(unset=[Variable(name="HOST", selector="x=1,y=1")])
        await agent.until(lambda a: a.variables.values == {"HOST": "one"})
        with pytest.raises(InvalidError, match="the agent's own"):
            await plane.client.set_variables(set=[Variable(name="HEADRACE_AGENT", value="x")])
        assert len(await plane.client.list_variables()) == 3


async def test_events_can_be_watched_from_a_revision_on(start: Start) -> None:
    async with start() as plane:
        await plane.client.apply_pipelines([manifest()])
        (applied,) = await plane.events("pipeline.applied")
        seen = []
        async with asyncio.timeout(10):
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(plane.client.delete_pipelines(["edge"]))
                async for event in plane.client.watch_events(after=applied.revision - 1, pipeline="edge"):
                    seen.append(event.kind)
                    if len(seen) == 2:
                        break
        assert seen == ["pipeline.applied", "pipeline.deleted"]
