"""One stop path, in order or forced."""

from __future__ import annotations

import asyncio

import pytest

from controlplane.stopping import Stop


class Step:
    """Something to wait for, and what became of it."""

    def __init__(self, *, endless: bool) -> None:
        self.endless = endless
        self.began = asyncio.Event()
        self.ended = ""

    async def run(self) -> None:
        self.began.set()
        try:
            if self.endless:
                await asyncio.Event().wait()
            self.ended = "done"
        except asyncio.CancelledError:
            self.ended = "cut short"
            raise


async def test_the_first_request_asks_and_the_second_one_forces() -> None:
    stop = Stop()
    seen = []
    for _ in range(3):
        stop.ask()
        seen.append((stop.asked.is_set(), stop.forced.is_set()))
    assert seen == [(True, False), (True, True), (True, True)]


async def test_a_step_takes_the_time_that_it_needs() -> None:
    step = Step(endless=False)
    await Stop().patiently(step.run(), "a step")
    assert step.ended == "done"


async def test_a_forced_stop_cuts_the_step_that_it_waits_for_and_every_later_one() -> None:
    stop, first, later = Stop(), Step(endless=True), Step(endless=True)
    stop.ask()
    waiting = asyncio.create_task(stop.patiently(first.run(), "first"))
    await first.began.wait()
    stop.ask()
    await waiting
    await stop.patiently(later.run(), "later")
    assert (first.ended, later.ended) == ("cut short", "cut short")


async def test_a_step_that_fails_says_so() -> None:
    async def fails() -> None:
        raise RuntimeError("the disk")

    with pytest.raises(RuntimeError, match="the disk"):
        await Stop().patiently(fails(), "a step")


async def test_who_cancels_the_stop_cancels_its_step() -> None:
    step = Step(endless=True)
    waiting = asyncio.create_task(Stop().patiently(step.run(), "a step"))
    await step.began.wait()
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert step.ended == "cut short"
