"""The embedded engine against the real Fluent Bit: lines per CPU second of some pipelines, in one run.

Both get the same configuration and the same lines, appended at once to a file that they follow already, so that
starting up costs neither of them anything. What an output has taken is asked of the monitoring API that both have, and
only when the process has come to rest, so that asking costs next to nothing.
"""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.bench import machine
from tests.bench.report import Measurement, median
from tests.bench.scenario import Options
from tests.processes import Program
from tests.servers import free_port

_LINES, _QUICK_LINES = 400_000, 20_000
_EMBEDDED = [sys.executable, "-P", "-m", "agent.engine"]
_CONFIG = """
service:
  flush: 0.2
  http_server: on
  http_listen: 127.0.0.1
  http_port: {port}
parsers:
  - name: json_lines
    format: json
pipeline:
  inputs:
    - name: tail
      path: {folder}/in.log
      tag: bench
      {parser}
      read_from_head: true
      buffer_chunk_size: 512k
      buffer_max_size: 1M
      skip_long_lines: true
  filters: [{filters}]
  outputs:
    - {{name: {output}, match: bench}}
"""
_JSON = "parser: json_lines"
_GREP = "{name: grep, match: bench, regex: level ^(warn|error)$}"
_MODIFY = "{name: modify, match: bench, add: host here, rename: level severity, remove: client}"
_LUA = """{name: lua, match: bench, call: f, code: "
        function f(tag, time, record)
          if record.level == 'debug' or record.level == 'info' then return -1, 0, 0 end
          record.host = 'here'
          return 2, time, record
        end"}"""
_FILE = "file, path: {folder}, file: out.log"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Pipeline:
    """One way through the engine; half of the lines come out where `keeps_half`."""

    name: str
    parser: str = _JSON
    filters: str = ""
    output: str = "null"
    keeps_half: bool = False


_PIPELINES = (
    _Pipeline(name="tail -> null", parser=""),
    _Pipeline(name="tail -> json -> null"),
    _Pipeline(name="tail -> json -> grep -> file", filters=_GREP, output=_FILE, keeps_half=True),
    _Pipeline(
        name="tail -> json -> grep -> modify -> file", filters=f"{_GREP}, {_MODIFY}", output=_FILE, keeps_half=True
    ),
    _Pipeline(name="tail -> json -> lua -> null", filters=_LUA, keeps_half=True),
)


def engine(options: Options) -> Iterator[Measurement]:
    """For each pipeline the embedded engine's own number, and the ratio where there is a real Fluent Bit."""
    for pipeline in _PIPELINES:
        yield from _measured(pipeline, options)


def _measured(pipeline: _Pipeline, options: Options) -> Iterator[Measurement]:
    lines = _QUICK_LINES if options.quick else _LINES
    embedded: list[float] = []
    real: list[float] = []
    for _ in range(1 if options.quick else 5):  # in turns, so that both get the same weather
        embedded.append(_lines_per_cpu_s(_EMBEDDED, pipeline, lines))
        if options.fluent_bit:
            real.append(_lines_per_cpu_s([options.fluent_bit], pipeline, lines))
    ours = median(embedded)
    yield Measurement(
        name=f"embedded engine, {pipeline.name}",
        value=ours,
        unit="lines per CPU second",
        at_least=True,
        detail={"runs": embedded, "lines": lines},
    )
    if real:
        yield Measurement(
            name=f"embedded engine against the real Fluent Bit, {pipeline.name}",
            value=ours / median(real),
            unit="times its lines per CPU second",
            target=0.25,
            at_least=True,
            detail={"fluent_bit": median(real), "runs": real},
        )


def _lines_per_cpu_s(command: list[str], pipeline: _Pipeline, lines: int) -> float:
    with tempfile.TemporaryDirectory(prefix="headrace-bench-") as name:
        folder, port = Path(name), free_port()
        source, more, config = folder / "in.log", folder / "more", folder / "config.yaml"
        source.write_text(_line(0))  # an error, which every pipeline lets through
        more.write_text("".join(map(_line, range(1, lines + 1))))
        config.write_text(
            _CONFIG.format(
                folder=folder,
                port=port,
                parser=pipeline.parser,
                filters=pipeline.filters,
                output=pipeline.output.format(folder=folder),
            )
        )
        expected = 1 + (lines // 2 if pipeline.keeps_half else lines)
        with Program([*command, "-c", config], folder=folder, name="engine") as engine:
            engine.wait_for(lambda: _delivered(port) == 1, what="the first record is out")
            before = last = machine.cpu_s(engine.pid)

            def is_through() -> bool:
                nonlocal last
                seen, last = last, machine.cpu_s(engine.pid)
                return seen == last and _delivered(port) == expected

            with source.open("ab") as log, more.open("rb") as text:
                shutil.copyfileobj(text, log, 1 << 24)
            engine.wait_for(is_through, timeout=120, what=f"{expected} records are out")
            return lines / (machine.cpu_s(engine.pid) - before)


def _delivered(port: int) -> int:
    """How many records the only output has taken."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/api/v1/metrics", timeout=10) as answer:
            (output,) = json.load(answer)["output"].values()
    except (OSError, KeyError, ValueError):
        return 0  # it does not listen yet, or has counted nothing
    return int(output["proc_records"])


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
