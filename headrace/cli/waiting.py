"""Waiting until changes have arrived: the watches, the clock and the display around the rules of `rollout`."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import typer

from headrace.api import Action, Change
from headrace.cli import durations
from headrace.cli.exits import say
from headrace.cli.progress import Progress, summary
from headrace.cli.removal import Removal
from headrace.cli.rollout import Goal, Rollout, Standing, Verdict, exit_for
from headrace.errors import NotFoundError, OverloadedError, UnavailableError
from headrace.types import AgentState

if TYPE_CHECKING:
    from headrace.management import ManagementClient


RETRY_S = 1.0


@dataclass(frozen=True, slots=True)
class Plan:
    """What `--wait` and `--timeout` ask for; without a goal nothing is waited for. `limit` is in seconds."""

    goal: Goal | None
    limit: float
    timeout: str


def plan(*, wait: bool, wait_for: Goal | None, timeout: str) -> Plan:
    """Of the options, checked before anything is changed."""
    goal = wait_for or (Goal.RUNNING if wait else None)
    return Plan(goal, durations.seconds(timeout, "--timeout"), timeout)


async def wait(client: ManagementClient, changes: Sequence[Change], plan: Plan) -> None:
    """Until every agent has the changes; raises typer.Exit with the code of the outcome when that is not 0."""
    if plan.goal is None or not changes:
        return
    rollouts = [
        Removal(change.pipeline, revision=change.revision)
        if change.action is Action.DELETED
        else Rollout(change.pipeline, revision=change.revision, goal=plan.goal)
        for change in changes
    ]
    waiting = _Wait(client, rollouts)
    with waiting.progress:
        timed_out = await waiting.run(plan.limit)
    standings = waiting.standings or ()
    waiting.progress.finish(standings)
    _say_end(rollouts, standings, timeout=plan.timeout if timed_out else "")
    if code := exit_for(standings, timed_out=timed_out):
        raise typer.Exit(code)


class _Wait:
    """The watches of all pipelines, and what they say of all agents."""

    def __init__(self, client: ManagementClient, rollouts: Sequence[Rollout | Removal]) -> None:
        self.client = client
        self.rollouts = rollouts
        self.progress = Progress()
        self.enrolled: dict[str, datetime] = {}
        self.standings: tuple[Standing, ...] | None = None
        self.news = asyncio.Event()

    async def run(self, limit: float) -> bool:
        """True when the time was up first."""
        watches = [asyncio.create_task(self._watch(r), name=f"watch {r.pipeline}") for r in self.rollouts]
        try:
            async with asyncio.timeout(limit):
                await self._until_over(set(watches))
        except TimeoutError:
            return True
        finally:
            for watch in watches:
                watch.cancel()
            await asyncio.gather(*watches, return_exceptions=True)
        return False

    async def _until_over(self, watches: set[asyncio.Task[None]]) -> None:
        while not self._look():
            news = asyncio.create_task(self.news.wait(), name="news")
            try:
                # An agent stops being new by the clock alone, so one look a second without news, too.
                done, _ = await asyncio.wait({news, *watches}, timeout=1.0, return_when=asyncio.FIRST_COMPLETED)
            finally:
                news.cancel()
            self.news.clear()
            for watch in watches & done:
                watch.result()
            watches -= done

    def _look(self) -> bool:
        """Show where everything is; True when there is nothing left to wait for."""
        now = datetime.now(UTC)
        parts = [rollout.standings(now=now, enrolled=self.enrolled) for rollout in self.rollouts]
        known = tuple(standing for part in parts for standing in part or ())
        if known != self.standings:
            self.standings = known
            self.progress.show(known)
        return None not in parts and all(standing.verdict is not Verdict.WAITING for standing in known)

    async def _watch(self, rollout: Rollout | Removal) -> None:
        """Feeds one rollout, through restarts of the control plane too; ends only with an error, or with a removal."""
        while True:
            try:
                async for pipeline in self.client.watch_pipeline(rollout.pipeline):
                    new = {w.agent_id for w in pipeline.workloads if w.agent_state is AgentState.PENDING}
                    if new - set(self.enrolled):
                        agents = await self.client.list_agents()
                        self.enrolled = {agent.id: agent.enrolled_at for agent in agents if agent.enrolled_at}
                    rollout.take(pipeline)
                    self.news.set()
            except NotFoundError:
                if isinstance(rollout, Rollout):
                    raise
                rollout.ended()
                self.news.set()
                return
            except (UnavailableError, OverloadedError) as error:
                say(f"{error.message}; trying again")
            await asyncio.sleep(RETRY_S)


def _say_end(rollouts: Sequence[Rollout | Removal], standings: Sequence[Standing], *, timeout: str) -> None:
    for rollout in rollouts:
        awaited = [s for s in standings if s.pipeline == rollout.pipeline and s.verdict is not Verdict.AWAY]
        if not awaited and not timeout:
            say(rollout.nobody)
    if timeout:
        late = next((s.pipeline for s in standings if s.verdict is Verdict.WAITING), rollouts[0].pipeline)
        say(f"timed out after {timeout}; the change stays, agents go on with it: headrace describe pipeline {late}")
    if standings:
        say(summary(standings))
