"""Changes in a row on real processes with Fluent Bit's faults: the newest good one runs, and nothing is left over."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from random import Random

import pytest

from agent.model import Record, Target
from agent.runtimes.fluentbit import FluentBit
from agent.runtimes.process import holders
from agent.workload import Workload
from headrace.types import AttemptState, Engine, Health
from tests.agent.conftest import DEADLINES, ENVIRONMENT, STAND_IN_COMMAND, MakeHost, blob, content
from tests.processes import eventually

BAD = ("plugin", "start", "crash")
"""Never run, or not for long."""
HARD = ("swallow", "wedge", "stubborn", "disabled")
"""Do run, once the engine has been replaced or killed."""


@pytest.mark.parametrize("seed", range(3))
async def test_it_always_ends_on_the_newest_good_one(make_host: MakeHost, seed: int) -> None:
    deadlines = replace(DEADLINES, reload=0.5, stop=0.1)
    runtime = await FluentBit.find(Engine.FLUENT_BIT, STAND_IN_COMMAND, environment=ENVIRONMENT, deadlines=deadlines)
    host = make_host({Engine.FLUENT_BIT: runtime})
    workload = Workload(Record(pipeline="p"), host, lambda pipeline: None)
    task = asyncio.create_task(workload.run(), name="workload")
    dice = Random(seed)
    try:
        good = 0
        for generation in range(1, 9):
            fault = dice.choice(("", "", *BAD, *HARD)) if 1 < generation < 8 else ""
            sha256, data = blob(content(f"m{generation}", fault))
            host.state.save_blob(sha256, data)
            workload.want(Target(generation, sha256))
            if dice.random() < 0.2 and generation < 8:
                continue  # the next one comes at once
            expected = AttemptState.FAILED if fault in BAD else AttemptState.OK
            good = good if fault in BAD else generation

            def is_settled(expected: AttemptState = expected, good: int = good, now: int = generation) -> bool:
                observed = workload.observed()
                attempt, running = observed.attempt, observed.running
                assert attempt is not None
                return (
                    (attempt.generation, attempt.state, observed.good) == (now, expected, good)
                    and running is not None
                    and (running.generation, running.health) == (good, Health.HEALTHY)
                )

            await eventually(is_settled, timeout=30, what=f"generation {generation} ({fault or 'good'}) is dealt with")
            assert len(holders(host.folder("p").lock)) == 1
        assert good == 8
    finally:
        task.cancel()
        await asyncio.wait((task,))
        await workload.shut_down()
    assert holders(host.folder("p").lock) == ()
