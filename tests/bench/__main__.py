"""`make bench`, or `python -m tests.bench`: measures speed and size, and prints one JSON document.

Numbers mean something on a machine that does nothing else; the load average stands beside each. Nothing here fails for
being slow: the document says which targets were missed.
"""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

from tests.bench import machine
from tests.bench.report import Measurement, document
from tests.bench.scenario import Options

SCENARIOS = {
    "channel": "tests.bench.channel:channel",
    "mtls": "tests.bench.channel:mtls",
    "metrics": "tests.bench.metrics:metrics",
    "agent": "tests.bench.agent:agent",
    "start": "tests.bench.start:start",
    "change": "tests.bench.change:change",
    "engine": "tests.bench.engine:engine",
}


def main() -> int:
    """Runs what was asked for."""
    options = _parser().parse_args()
    machine.raise_open_files()
    chosen = Options(agents=options.agents, state=options.state)
    if options.quick:
        chosen = Options(agents=(200,), rounds=2, state=options.state, quick=True)
    measurements: list[Measurement] = []
    for name in options.only or SCENARIOS:
        for measurement in _scenario(name)(chosen):
            _tell(measurement)
            measurements.append(measurement)
    text = document(measurements, sys.argv[1:])
    if options.out:
        options.out.write_text(text + "\n")
    print(text)
    return 0


def _scenario(name: str) -> Callable[[Options], Iterable[Measurement]]:
    module, _, function = SCENARIOS[name].partition(":")
    scenario: Callable[[Options], Iterable[Measurement]] = getattr(importlib.import_module(module), function)
    return scenario


def _tell(measurement: Measurement) -> None:
    """Progress, for whoever waits."""
    value = "-" if measurement.value is None else f"{measurement.value:.4g} {measurement.unit}"
    of = f" of {measurement.agents} agents" if measurement.agents else ""
    verdict = {True: "met", False: "MISSED", None: ""}[measurement.met]
    target = "" if measurement.target is None else f" (target {measurement.target:g}: {verdict})"
    print(f"{measurement.name}{of}: {value}{target}; load {measurement.load_average}", file=sys.stderr, flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description="Measures speed and size.")
    parser.add_argument("--only", action="append", choices=SCENARIOS, help="one scenario; may be repeated")
    parser.add_argument(
        "--agents",
        type=lambda text: tuple(int(part) for part in text.split(",")),
        default=(1_000, 5_000),
        metavar="N,N",
        help="sizes of fleets (default: 1000,5000)",
    )
    parser.add_argument("--state", default="", metavar="URL", help="state store (default: SQLite)")
    parser.add_argument("--quick", action="store_true", help="only see that everything works")
    parser.add_argument("--out", type=Path, metavar="FILE", help="write the document there too")
    return parser


if __name__ == "__main__":
    sys.exit(main())
