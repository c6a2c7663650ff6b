"""How long `headrace up` takes, from the command to the first record that comes out of its demo pipeline."""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from tests.bench.report import Measurement, median
from tests.bench.scenario import Options
from tests.processes import Program
from tests.system.cli import Cli

_LOOPBACK = ("--http", "127.0.0.1:0", "--grpc", "127.0.0.1:0", "--channel", "127.0.0.1:0")


def start(options: Options) -> Iterator[Measurement]:
    """Each time in a new folder; the first start, which may read and compile from disk, is not counted."""
    _started()
    runs = [_started() for _ in range(1 if options.quick else 5)]
    yield Measurement(
        name="headrace up -> first record out, warm",
        value=median(first for _, first in runs),
        unit="s",
        target=3.0,
        detail={"ready": median(ready for ready, _ in runs), "runs": [first for _, first in runs]},
    )


def _started() -> tuple[float, float]:
    """Seconds until it says that it is ready, and until the first record."""
    with tempfile.TemporaryDirectory(prefix="headrace-bench-") as folder:
        home, data = Path(folder) / "home", Path(folder) / "data"
        home.mkdir()
        outputs = (data / "demo/output.log", data / "demo/ticks.log")
        command = [sys.executable, "-P", "-m", "headrace.cli", "up", "--data-dir", data, *_LOOPBACK]
        environment = {**Cli(home).environment, "HEADRACE_ENGINE": "embedded", "PATH": os.environ["PATH"]}
        began = time.monotonic()
        with Program([*command, "--engine", "embedded"], folder=home, name="up", env=environment) as up:

            def is_out() -> bool:
                return any(output.exists() and output.stat().st_size for output in outputs)

            moments: dict[str, float] = {}

            def both() -> bool:
                if is_out():
                    moments.setdefault("out", time.monotonic() - began)
                if "Headrace is ready" in up.output:
                    moments.setdefault("ready", time.monotonic() - began)
                return len(moments) == 2

            up.wait_for(both, timeout=60, what="the first record")
    return moments["ready"], moments["out"]
