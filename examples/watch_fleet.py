"""Applies a pipeline to every agent labelled role=edge and watches until each of them runs it.

It finds the control plane as the CLI does (HEADRACE_SERVER, else this host): python examples/watch_fleet.py
"""

import asyncio

from headrace.api import Manifest
from headrace.management import ManagementClient
from headrace.types import Phase

CONFIG = "pipeline: {inputs: [{name: dummy, tag: demo}], outputs: [{name: stdout, match: demo}]}"
ENDED = {Phase.RUNNING, Phase.GOOD, Phase.FAILED}


async def main() -> None:
    async with ManagementClient() as plane:
        manifest = Manifest(name="watched", selector="role=edge", config=CONFIG)
        (change,) = (await plane.apply_pipelines([manifest], reason="an example")).changes
        print(f"{change.pipeline}: {change.action}, revision {change.revision}, {change.agents} agents")
        async for pipeline in plane.watch_pipeline(change.pipeline):
            phases = {workload.agent_name: workload.phase for workload in pipeline.workloads}
            print(*(f"{agent}={phase}" for agent, phase in sorted(phases.items())))
            if set(phases.values()) <= ENDED:
                break


asyncio.run(main())
