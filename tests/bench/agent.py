"""Measurements of the agent: what one costs a host when it is connected, runs one pipeline, and nothing happens."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from headrace.types import Phase
from tests.bench import machine
from tests.bench.report import Measurement
from tests.bench.scenario import Options
from tests.system.plane import Plane

_CONFIG = """
service:
  flush: 1
pipeline:
  inputs:
    - name: tail
      path: {folder}/in.log
      tag: bench
      db: offsets.db
  outputs:
    - name: file
      match: '*'
      path: {folder}
"""


def agent(options: Options) -> Iterator[Measurement]:
    """A real agent beside a real control plane, with the heartbeat that ships."""
    seconds = 5.0 if options.quick else 60.0
    with tempfile.TemporaryDirectory(prefix="headrace-bench-") as folder, Plane(Path(folder) / "plane") as plane:
        (Path(folder) / "in.log").touch()
        made = plane.agent("bench")
        plane.apply("bench", _CONFIG.format(folder=folder), "--wait", "--timeout", "60s")
        plane.until("bench", Phase.GOOD)
        pid, engine = made.program.pid, made.engines("bench")[0]
        before, engine_before = machine.fine_cpu_s(pid), machine.fine_cpu_s(engine)
        time.sleep(seconds)
        share = (machine.fine_cpu_s(pid) - before) / seconds
        yield Measurement(
            name="agent, connected, one pipeline: own memory",
            value=machine.memory_kib(pid) * 1024 / 1e6,
            unit="MB",
            target=45.0,
            detail={"engine_mb": machine.memory_kib(engine) * 1024 / 1e6},
        )
        yield Measurement(
            name="agent, connected, one pipeline: own idle CPU",
            value=100 * share,
            unit="% of a core",
            target=0.3,
            detail={"seconds": seconds, "engine": 100 * (machine.fine_cpu_s(engine) - engine_before) / seconds},
        )
