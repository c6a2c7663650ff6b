"""The example of a third party, as it is in the repository, against a real control plane and an agent."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

from headrace.testing import FakeAgent
from headrace.types import Facts
from tests.controlplane.conftest import Start
from tests.controlplane.conftest import start as start

EXAMPLE = Path(__file__).parents[2] / "examples/watch_fleet.py"


async def test_it_applies_and_watches_until_every_agent_runs_the_pipeline(start: Start) -> None:
    assert len(EXAMPLE.read_text().splitlines()) < 30
    async with start() as plane:
        token = await plane.token()
        facts = Facts(name="edge-1", labels={"role": "edge"})
        async with FakeAgent(plane.running.ready.channel, token=token, facts=facts) as agent:
            await agent.until(lambda agent: agent.completed == 1)
            environment = dict(os.environ, HEADRACE_SERVER=plane.running.ready.grpc)
            example = await asyncio.create_subprocess_exec(
                sys.executable, str(EXAMPLE), env=environment, stdout=asyncio.subprocess.PIPE
            )
            async with asyncio.timeout(30):
                out, _ = await example.communicate()
    assert example.returncode == 0
    first, *_, last = out.decode().splitlines()
    assert first == "watched: created, revision 1, 1 agents"
    assert last == "edge-1=good"
