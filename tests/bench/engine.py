"""The embedded engine against the real Fluent Bit: lines per CPU second, tail -> json -> grep -> file, in one run.

Both get the same configuration and the same lines, appended at once to a file that they follow already, so that
starting up costs neither of them anything.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tests.bench import machine
from tests.bench.report import Measurement, median
from tests.bench.scenario import Options
from tests.processes import Program

_LINES, _QUICK_LINES = 200_000, 20_000
_CONFIG = """
service:
  flush: 0.2
parsers:
  - name: json_lines
    format: json
pipeline:
  inputs:
    - name: tail
      path: {folder}/in.log
      tag: bench
      parser: json_lines
      read_from_head: true
      buffer_chunk_size: 512k
      buffer_max_size: 1M
      skip_long_lines: true
  filters:
    - name: grep
      match: bench
      regex: level ^(warn|error)$
  outputs:
    - name: file
      match: bench
      path: {folder}
      file: out.log
"""


def engine(options: Options) -> Iterator[Measurement]:
    """The ratio where there is a real Fluent Bit, the embedded engine's own number in any case."""
    lines = _QUICK_LINES if options.quick else _LINES
    embedded: list[float] = []
    real: list[float] = []
    for _ in range(1 if options.quick else 5):  # in turns, so that both get the same weather
        embedded.append(_lines_per_cpu_s([sys.executable, "-P", "-m", "agent.engine"], lines))
        if options.fluent_bit:
            real.append(_lines_per_cpu_s([options.fluent_bit], lines))
    ours = median(embedded)
    yield Measurement(
        name="embedded engine, tail -> json -> grep -> file",
        value=ours,
        unit="lines per CPU second",
        at_least=True,
        detail={"runs": embedded, "lines": lines},
    )
    if real:
        yield Measurement(
            name="embedded engine against the real Fluent Bit",
            value=ours / median(real),
            unit="times its lines per CPU second",
            target=0.25,
            at_least=True,
            detail={"fluent_bit": median(real), "runs": real},
        )


def _lines_per_cpu_s(command: list[str], lines: int) -> float:
    with tempfile.TemporaryDirectory(prefix="headrace-bench-") as name:
        folder = Path(name)
        source, sink, config = folder / "in.log", folder / "out.log", folder / "config.yaml"
        source.write_text(_line(0))
        config.write_text(_CONFIG.format(folder=folder))
        text = "".join(map(_line, range(1, lines + 1)))
        with Program([*command, "-c", config], folder=folder, name="engine") as engine:
            engine.wait_for(lambda: sink.exists() and sink.stat().st_size, what="the first record is out")
            size, before = sink.stat().st_size, machine.cpu_s(engine.pid)
            with source.open("a") as log:
                log.write(text)
            kept = sum(_is_kept(number) for number in range(1, lines + 1))
            engine.wait_for(lambda: _count(sink, size) >= kept, timeout=120, what=f"{kept} records are out")
            return lines / (machine.cpu_s(engine.pid) - before)


def _line(number: int) -> str:
    levels = ("error", "info", "warn", "debug")
    document = {
        "time": f"2026-01-01T00:00:{number % 60:02}.{number % 1000:03}Z",
        "level": levels[number % 4],
        "message": f"GET /item/{number} took {number % 977} ms",
        "status": 200 + number % 5,
        "client": {"address": "192.0.2.17", "port": 1024 + number % 60_000},
    }
    return json.dumps(document, separators=(",", ":")) + "\n"


def _is_kept(number: int) -> bool:
    return number % 4 in (0, 2)


def _count(path: Path, offset: int) -> int:
    with path.open("rb") as file:
        file.seek(offset)
        return sum(piece.count(b"\n") for piece in iter(lambda: file.read(1 << 20), b""))
