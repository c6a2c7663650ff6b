"""How long a change takes to its commit -> verified running, on the records themselves, on a real agent and engine.

A program writes a line every few milliseconds; each change makes the pipeline add another version to every record. A
change is through when a record with its version is in the output file and the control plane calls it running.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from headrace import api, local
from headrace.management import ManagementClient
from headrace.types import Engine, Phase
from tests.bench.report import Measurement, median
from tests.bench.scenario import Options
from tests.processes import eventually
from tests.system.plane import Plane
from tests.system.records import Feed

_TARGETS = {Engine.EMBEDDED: 1.0, Engine.FLUENT_BIT: 3.0}
_TAIL_BYTES = 4096


def change(options: Options) -> Iterator[Measurement]:
    """On the embedded engine, and on the real Fluent Bit where there is one."""
    for engine in (Engine.EMBEDDED, *([Engine.FLUENT_BIT] if options.fluent_bit else [])):
        yield _measured(options, engine)


def _measured(options: Options, engine: Engine) -> Measurement:
    with (
        tempfile.TemporaryDirectory(prefix="headrace-bench-") as folder,
        Plane(Path(folder) / "plane") as plane,
        Feed(Path(folder) / "logs") as feed,
    ):
        plane.agent("a-1", engine=engine.value)
        plane.apply("feed", feed.pipeline(1), "--wait", "--timeout", "60s")
        feed.until_flowing(version=1)
        plane.until("feed", Phase.GOOD)
        runs = [asyncio.run(_changed(plane, feed, version)) for version in range(2, 4 if options.quick else 12)]
    return Measurement(
        name=f"commit -> verified running, on records, {engine.value}",
        value=median(max(run) for run in runs),
        unit="s",
        target=_TARGETS[engine],
        detail={
            "records": median(record for record, _ in runs),
            "called_running": median(called for _, called in runs),
            "worst": max(max(run) for run in runs),
            "rounds": len(runs),
            "flush_s": 0.2,
        },
    )


async def _changed(plane: Plane, feed: Feed, version: int) -> tuple[float, float]:
    """Seconds from the commit to the first new record, and to being called running."""
    endpoint = local.find(address=plane.grpc, environment={"HOME": str(plane.home)})
    async with ManagementClient(endpoint.address, endpoint.token) as client:
        manifest = api.Manifest(name="feed", selector="*", config=feed.pipeline(version))
        generation = (await client.apply_pipelines([manifest])).changes[0].generation

        async def record() -> float:
            await eventually(lambda: f" {version}\n" in _tail(feed.folder / "a-1.out"), timeout=60)
            return time.time()

        async def called() -> float:
            async for pipeline in client.watch_pipeline("feed"):
                if any(_runs(workload, generation) for workload in pipeline.workloads):
                    break
            return time.time()

        async with asyncio.timeout(60):
            seen = await asyncio.gather(record(), called())
        committed = (await client.list_revisions("feed", limit=1))[0].at
        assert committed is not None
        await asyncio.sleep(0.5)
    return seen[0] - committed.timestamp(), seen[1] - committed.timestamp()


def _runs(workload: api.Workload, generation: int) -> bool:
    running = workload.observed.running if workload.observed else None
    in_phase = workload.phase in (Phase.RUNNING, Phase.GOOD)
    return in_phase and running is not None and running.generation == generation


def _tail(path: Path) -> str:
    """The end of the output, from the start of a line on."""
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - _TAIL_BYTES))
        return file.read().decode()
