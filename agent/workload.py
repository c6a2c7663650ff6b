"""One workload's life: a task that keeps what runs in step with what is desired, and tells what it sees.

    want, remove, refresh ──► record ──► plan (pure) ──► one action ──► record ──► Observed
                                ▲                                          │
                                └──────────── again, until `Keep` ─────────┘

The record is on disk before anything is told of it. Only the workload's own task acts; everybody else changes the
record and wakes it. What is newer cuts short whatever can be cut short: all but the moment in which an engine changes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import structlog

from agent import attempts
from agent.change import Change, Outcome, SupersededError, disk_fault
from agent.contents import Contents
from agent.errors import AgentError
from agent.host import Host
from agent.model import Record, Removal, Target
from agent.plan import Acknowledge, Action, Keep, Reload, Replace, Revive, Settle, Start, Stop, plan
from agent.restart import Exit, retry_delay
from agent.runner import Runner, check_runnable
from agent.runtimes import EngineLostError, Instance
from agent.runtimes.log_lines import is_environment
from agent.truths import has_other_good, is_settling, observed_of, situation_of
from agent.vitals import Vitals
from headrace.types import AttemptState, Fault, Observed, Step

log = structlog.get_logger(__name__)


class Workload:
    """A pipeline on this agent. `changed` is called whenever `observed` would answer differently."""

    def __init__(self, record: Record, host: Host, changed: Callable[[str], None]) -> None:
        self.record = record
        self.pipeline = record.pipeline
        self._host = host
        self._changed = changed
        self._contents = Contents(record.pipeline, host)
        self._runner = Runner(record.pipeline, host, self._engine_ended)
        self._vitals = Vitals()
        self._wake = asyncio.Event()
        self._newer = asyncio.Event()
        self._restart_asked = False
        self._failures = 0
        self._retry_at = 0.0
        self._log = log.bind(pipeline=record.pipeline)

    # What others say. None of these waits.

    def want(self, target: Target) -> None:
        """Run this from now on, unless it is what is desired already, or older than that.

        A tombstone is no reason to refuse: the session knows whether it was this plane that removed, and when. And
        another plane may mean another content by the same number.
        """
        desired = self.record.desired
        if not self.record.removal and desired and (target == desired or target.generation < desired.generation):
            return
        self._start_over()
        self._save(desired=target, removal=None, attempt=attempts.pending(target, self._host.now()))
        self._newer.set()
        self._wake.set()

    def remove(self, removal: Removal) -> None:
        """Stop, and be gone."""
        desired = self.record.desired
        if self.record.removal or (desired and removal.generation < desired.generation):
            return
        self._save(removal=removal)
        self._newer.set()
        self._wake.set()

    def refresh(self) -> None:
        """Variables or secrets changed: look whether that matters here."""
        self._contents.forget()
        self._wake.set()

    def retry(self) -> None:
        """Try the desired generation again, whatever became of it."""
        self._start_over()
        if self.record.desired is not None:
            self._save(attempt=attempts.pending(self.record.desired, self._host.now()))
        self._wake.set()

    def restart(self) -> None:
        """Start the engine anew."""
        self._vitals.forgive()
        self._restart_asked = True
        self._wake.set()

    @property
    def engine(self) -> Instance | None:
        """The engine, while it runs and is not being changed."""
        return self._runner.settled

    @property
    def log_path(self) -> Path:
        """Where the engine writes its log."""
        return self._runner.folder.log

    def observed(self) -> Observed:
        """The three truths, as they are now."""
        trouble = self._host.state.trouble
        return observed_of(self.record, self._vitals, alive=self._is_alive, trouble=trouble)

    # The task.

    async def run(self) -> None:
        """Until the pipeline is removed and its engine gone. Cancelling it leaves the engine alone; see `shut_down`."""
        try:
            await self._live()
        finally:
            self._runner.leave()

    async def _live(self) -> None:
        await self._take_over()
        while not (isinstance(action := self._next(), Keep) and self.record.removal is not None):
            self._wake.clear()
            match action:
                case Keep(until):
                    await self._rest(until)
                case Start(target) | Reload(target) | Replace(target):
                    await self._attempt(target, in_place=isinstance(action, Reload))
                case Acknowledge(target):
                    self._acknowledge(target)
                case Revive(target):
                    await self._revive(target)
                case Settle(target):
                    await self._settle(target)
                case Stop():
                    await self._runner.stop()
            if self._restart_asked:
                self._restart_asked = False
                await self._runner.stop()
        self._gone()

    async def shut_down(self) -> None:
        """End the engine because the agent ends; call it once `run` has ended. The next start brings it back."""
        await self._runner.stop()

    def _next(self) -> Action:
        prepared = self._contents.look_up(self.record.desired) if self.record.desired else None
        return plan(
            situation_of(
                self.record,
                self._vitals,
                basis=prepared.basis if prepared else "",
                alive=self._is_alive,
                now=self._host.clock(),
                settle_s=self._host.settle_s,
                retry_at=self._retry_at,
            )
        )

    @property
    def _is_alive(self) -> bool:
        return self._runner.instance is not None

    async def _take_over(self) -> None:
        """The engine that an earlier agent left, unless this host's policy has come to forbid it."""
        await self._runner.end_trial()
        run = self.record.run
        if run is None:
            return
        prepared = self._contents.look_up(run.target)
        if not self._runner.adopt(run, prepared):
            return
        self._log.info("engine taken over", pid=run.child.pid, generation=run.target.generation)
        if prepared is not None and prepared.policy_faults:
            self._log.warning("engine is against the policy", faults=[str(fault) for fault in prepared.policy_faults])
            await self._runner.stop()
        await self._look()

    async def _attempt(self, target: Target, *, in_place: bool) -> None:
        async with self._host.applies:
            if self.record.desired != target or self.record.removal is not None:
                return
            self._newer.clear()
            before = self.record.run
            change = Change(
                target,
                runner=self._runner,
                contents=self._contents,
                in_place=in_place,
                newer=self._newer,
                tell=self._tell,
                secrets=self._host.state.secrets,
            )
            try:
                outcome = await change.make()
            except SupersededError:
                self._log.info("superseded", generation=target.generation)
                return
        if outcome.run is None:
            self._save(run=before)
            self._failed(target, outcome)
            return
        self._host.counts.applies += 1
        self._start_over()
        self._vitals.started()
        attempt = attempts.succeeded(target, self._host.now())
        if self.record.desired == target:
            self._save(attempt=attempt, attempt_basis=outcome.basis, run=outcome.run, notes=outcome.notes)
        else:  # Something newer is desired by now; what runs is true all the same.
            self._save(run=outcome.run, notes=outcome.notes)
        self._collect()
        self._log.info("running", generation=target.generation, pid=outcome.run.child.pid)

    def _acknowledge(self, target: Target) -> None:
        """The content runs already, and is as good as it was."""
        record, prepared = self.record, self._contents.look_up(target)
        assert record.run
        assert prepared
        self._save(
            attempt=attempts.succeeded(target, self._host.now()),
            attempt_basis=prepared.basis,
            run=replace(record.run, target=target),
            good=target if record.good and record.good.sha256 == target.sha256 else record.good,
        )
        self._log.info("acknowledged", generation=target.generation)

    def _failed(self, target: Target, outcome: Outcome) -> None:
        faults = [str(fault) for fault in outcome.faults]
        self._log.warning("attempt failed", generation=target.generation, step=outcome.step.value, faults=faults)
        self._host.counts.failed_applies += 1
        if self.record.desired != target:
            return
        self._failures += 1
        delay = retry_delay(self._failures, self._host.roll())
        self._retry_at = self._host.clock() + delay
        attempt = attempts.failed(target, outcome, self._host.now(), retry_in=delay)
        self._save(attempt=attempt, attempt_basis=outcome.basis)

    # What runs.

    async def _revive(self, target: Target) -> None:
        """Start again what ran, or the last good one. A failure counts as an exit, so the next try comes later."""
        try:
            async with self._host.applies:
                prepared = await self._contents.get(target)
                launch, _ = self._runner.render(target, prepared)
                check_runnable(prepared)
                self._runner.probe(prepared)
                run = await self._runner.apply(target, launch, prepared, in_place=False)
        except AgentError as error:
            self._count_exit(Exit(self._host.clock(), None), error.message)
        except OSError as error:
            self._count_exit(Exit(self._host.clock(), None), str(disk_fault(error)))
        else:
            self._vitals.started()
            self._save(run=run, restarts=self.record.restarts + 1)
            self._log.info("engine is back", generation=target.generation, pid=run.child.pid)

    async def _settle(self, target: Target) -> None:
        """One last look, and it is good."""
        await self._look()
        if self._is_alive and self._vitals.healthy_since is not None:
            self._save(good=target)
            self._collect()
            self._log.info("good", generation=target.generation)

    async def _rest(self, until: float | None) -> None:
        """Wait for that time or a wake-up, and look at the engine every now and then."""
        now, has_engine = self._host.clock(), self._is_alive
        is_quiet = self.record.good == self.record.desired and self._vitals.healthy_since is not None
        pause = self._host.check_s if is_quiet else min(self._host.check_s, self._host.settle_s / 5)
        due = min((at for at in (until, now + pause if has_engine else None) if at is not None), default=None)
        try:
            async with asyncio.timeout(None if due is None else max(0.0, due - now)):
                await self._wake.wait()
        except TimeoutError:
            await self._look()

    async def _look(self) -> None:
        """At the engine's health. Records that it gives up before it is good bring the last good one back."""
        if not self._is_alive:
            return
        before = (self._vitals.health, self._vitals.message)
        self._runner.trim_log()
        try:
            self._vitals.seen(await self._runner.report(), self._host.clock())
        except EngineLostError as error:
            self._vitals.unanswered(self._host.state.secrets.mask.text(error.message))
        if self._vitals.is_stuck:
            self._log.warning("engine does not answer and is ended", reason=self._vitals.message)
            self._vitals.started()
            await self._runner.stop()
        elif self._vitals.gave_up and is_settling(self.record) and has_other_good(self.record):
            await self._runner.stop()
            self._fail_settling((Fault(message=f"{self._vitals.message}, while it settled"),), is_quarantined=True)
        if before != (self._vitals.health, self._vitals.message):
            self._changed(self.pipeline)

    def _engine_ended(self, ending: Exit) -> None:
        """It ended by itself; what it wrote last says why."""
        self._host.counts.engine_exits += 1
        faults = self._runner.last_faults()
        if is_settling(self.record):
            because = Fault(message=f"{ending}, while it settled")
            is_outside = ending.status is None or ending.was_sent or is_environment(faults)
            self._fail_settling((because, *faults), is_quarantined=not is_outside)
        self._count_exit(ending, "; ".join(str(fault) for fault in faults))
        self._wake.set()

    def _count_exit(self, ending: Exit, detail: str) -> None:
        detail = self._host.state.secrets.mask.text(detail)
        delay = self._vitals.ended(ending, detail, roll=self._host.roll())
        self._log.warning("engine is down", reason=self._vitals.message, next_start_in_s=round(delay, 1))
        self._changed(self.pipeline)

    def _fail_settling(self, faults: tuple[Fault, ...], *, is_quarantined: bool) -> None:
        assert self.record.desired
        basis = self.record.attempt_basis
        self._failed(
            self.record.desired, Outcome(step=Step.SETTLE, basis=basis, faults=faults, is_quarantined=is_quarantined)
        )

    def _gone(self) -> None:
        assert self.record.removal
        removal = replace(self.record.removal, at=self._host.now())
        folder = self._runner.folder
        backlog = folder.backlog()
        if removal.purge:
            folder.purge()
        else:
            folder.clear()
        self._save(removal=removal, desired=None, attempt=None, run=None, good=None, notes=())
        self._collect()
        self._log.info("removed", generation=removal.generation, left_chunks=backlog.chunks, left_bytes=backlog.size)

    # The record.

    def _tell(self, target: Target, state: AttemptState, step: Step) -> None:
        """Where the attempt is: not worth a write to the disk, until the engine is touched.

        An agent that is killed from then on leaves one that runs the old content or the new one. With its basis
        unknown the next agent takes it for neither, and starts a new one.
        """
        if self.record.desired == target:
            attempt = attempts.under_way(target, state, step, self._host.now())
            self.record = replace(self.record, attempt=attempt)
            self._changed(self.pipeline)
        if step is Step.APPLY and self.record.run is not None:
            self._save(run=replace(self.record.run, basis=""))

    def _start_over(self) -> None:
        self._failures = 0
        self._retry_at = 0.0
        self._vitals.forgive()

    def _collect(self) -> None:
        self._runner.folder.collect(self.record.kept)
        self._host.state.collect()

    def _save(self, **changes: Any) -> None:
        self.record = replace(self.record, **changes)
        self._host.state.save(self.record)
        self._changed(self.pipeline)
