"""One attempt at one generation, step by step; the table `STEPS` is the order, and what each step may be cut short by.

A step fails by an exception: ConfigurationFault quarantines the generation, EnvironmentFault and a disk that does not
write are tried again. Whatever fails, the old configuration runs on, or nothing does; never half of a new one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, TypeVar

from agent.contents import Contents
from agent.errors import ConfigurationFault, EnvironmentFault
from agent.model import Run, Target
from agent.preparation import Prepared
from agent.runner import Runner
from agent.runtimes import Launch
from agent.runtimes.render import Rendered
from agent.secrets import Secrets
from headrace.types import AttemptState, Fault, Step

T = TypeVar("T")


class SupersededError(Exception):
    """Something newer is desired; what was under way is of no interest any more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How an attempt ended: `run` when it runs, faults when it does not."""

    step: Step
    basis: str
    run: Run | None = None
    notes: tuple[str, ...] = ()
    faults: tuple[Fault, ...] = ()
    is_quarantined: bool = False


class Change:
    """Brings a target to run. `newer` is set when it is not wanted any more; `tell` hears of every step.

    What an outcome says has no secret in it, whatever the engine or a file's path says.
    """

    def __init__(
        self,
        target: Target,
        *,
        runner: Runner,
        contents: Contents,
        in_place: bool,
        newer: asyncio.Event,
        tell: Callable[[Target, AttemptState, Step], None],
        secrets: Secrets,
    ) -> None:
        self._target = target
        self._runner = runner
        self._contents = contents
        self._in_place = in_place
        self._newer = newer
        self._tell = tell
        self._secrets = secrets
        self._prepared: Prepared | None = None
        self._launch: Launch | None = None
        self._rendered: Rendered | None = None
        self._untried: tuple[str, ...] = ()
        self._run: Run | None = None

    async def make(self) -> Outcome:
        """Go through the steps. Raises SupersededError."""
        step = Step.RENDER
        try:
            for step, state, may_be_cut, do in STEPS:
                self._tell(self._target, state, step)
                await (_unless(self._newer, do(self)) if may_be_cut else do(self))
        except ConfigurationFault as fault:
            return self._outcome(step, fault.faults, is_quarantined=True)
        except EnvironmentFault as fault:
            return self._outcome(step, fault.faults)
        except OSError as error:
            return self._outcome(step, (disk_fault(error),))
        return self._outcome(Step.SETTLE, ())

    async def _render(self) -> None:
        self._prepared = await self._contents.get(self._target)
        self._launch, self._rendered = self._runner.render(self._target, self._prepared)

    async def _validate(self) -> None:
        assert self._prepared
        assert self._launch
        assert self._rendered
        await self._runner.validate(self._target, self._launch, self._prepared, self._rendered)

    async def _try(self) -> None:
        assert self._prepared
        assert self._launch
        assert self._rendered
        self._untried = await self._runner.try_out(self._target, self._launch, self._prepared, self._rendered)

    async def _apply(self) -> None:
        assert self._prepared
        assert self._launch
        assert self._rendered
        try:
            self._run = await self._runner.apply(self._target, self._launch, self._prepared, in_place=self._in_place)
        except (ConfigurationFault, EnvironmentFault) as fault:
            raise type(fault)(*self._rendered.traced(fault.faults)) from fault

    def _outcome(self, step: Step, faults: tuple[Fault, ...], *, is_quarantined: bool = False) -> Outcome:
        mask = self._secrets.mask
        notes = (*self._rendered.notes, *self._untried) if self._rendered else ()
        return Outcome(
            step=step,
            basis=self._prepared.basis if self._prepared else "",
            run=self._run,
            notes=tuple(map(mask.text, notes)),
            faults=tuple(map(mask.fault, faults)),
            is_quarantined=is_quarantined,
        )


STEPS: tuple[tuple[Step, AttemptState, bool, Callable[[Change], Coroutine[Any, Any, None]]], ...] = (
    (Step.RENDER, AttemptState.VALIDATING, True, Change._render),
    (Step.VALIDATE, AttemptState.VALIDATING, True, Change._validate),
    (Step.TRIAL, AttemptState.VALIDATING, True, Change._try),
    (Step.APPLY, AttemptState.APPLYING, False, Change._apply),
)


def disk_fault(error: OSError) -> Fault:
    """A file that cannot be written, as a fault."""
    place = f" {error.filename}" if error.filename else ""
    return Fault(message=f"the workload's folder cannot be written:{place} {error.strerror or error}")


async def _unless(newer: asyncio.Event, work: Coroutine[Any, Any, T]) -> T:
    """The work's result; SupersededError as soon as something newer is there."""
    task = asyncio.create_task(work, name="step of a change")
    waiter = asyncio.create_task(newer.wait(), name="wait for something newer")
    try:
        await asyncio.wait((task, waiter), return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            return task.result()
        raise SupersededError
    finally:
        waiter.cancel()
        task.cancel()
        await asyncio.wait((task, waiter))
