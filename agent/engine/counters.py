"""The counters of instances by kind and name: they outlive reloads and, after an orderly stop, the process.

An instance that replaces another one of its name goes on counting where that was; so does one that comes back. `id`
names the counters for as long as nothing of them is lost. At a stop they are written to the storage folder, and the
next start takes the file away: a process that is killed leaves none, and what comes after it begins anew.
"""

import os
import secrets
from dataclasses import asdict
from pathlib import Path
from typing import Any

import orjson

from agent.engine.metrics import Accounts, FilterMetrics, Flow, Histogram, InputMetrics, OutputMetrics
from agent.engine.parts import Parts

FILE = "counters.json"

_KINDS = {"input": InputMetrics, "filter": FilterMetrics, "output": OutputMetrics}


class Counters:
    """Of one engine."""

    def __init__(self) -> None:
        self.id = secrets.token_hex(8)
        self.accounts = Accounts()
        self.is_resumed = False
        """Whether they go on from an earlier run."""
        self._metrics: dict[tuple[str, str], Any] = {}
        self._flows: dict[str, dict[str, Flow]] = {}

    def adopt(self, parts: Parts) -> None:
        """Let every instance count where the last one of its name did; for those that are to run now."""
        for kind, of_kind in (("input", parts.inputs), ("filter", parts.filters), ("output", parts.outputs)):
            for part in of_kind:
                part.metrics = self._metrics.setdefault((kind, part.name), part.metrics)
        self.accounts.is_exact = self.accounts.is_exact and not any(part.processors for part in parts.inputs)
        for output in parts.outputs:
            output.flows = self._flows.setdefault(output.name, output.flows)

    def unaccounted(self, waiting: int) -> int | None:
        """Log records that came in, or were made of them, and are nowhere now; of those that wait at the outputs each
        copy counts. 0 as long as none is lost; None where it cannot be told."""
        accounts = self.accounts
        if not accounts.is_exact:
            return None
        came = accounts.emitted + accounts.copied + accounts.resumed
        for (kind, _), metrics in self._metrics.items():
            if kind == "input":
                came += metrics.records
            elif kind == "filter":
                came += metrics.add_records - metrics.drop_records
        delivered = sum(flow.records for flows in self._flows.values() for flow in flows.values())
        went = accounts.unrouted + accounts.dropped + accounts.returned
        return int(came - delivered - went - accounts.standing - waiting)

    def save(self, folder: Path) -> None:
        """For the next start, at once or not at all. Raises OSError."""
        document = {
            "id": self.id,
            "accounts": asdict(self.accounts),
            "metrics": [[kind, name, asdict(metrics)] for (kind, name), metrics in self._metrics.items()],
            "flows": [
                [name, source, asdict(flow)] for name, all in self._flows.items() for source, flow in all.items()
            ],
        }
        folder.mkdir(parents=True, exist_ok=True)
        aside = folder / f".{FILE}"
        aside.write_bytes(orjson.dumps(document))
        os.replace(aside, folder / FILE)

    def load(self, folder: Path) -> None:
        """What the last stop left, once; a file that is none leaves everything at zero. Raises OSError."""
        path = folder / FILE
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            return
        path.unlink()
        try:
            document = orjson.loads(data)
            metrics = {(kind, name): _KINDS[kind](**values) for kind, name, values in document["metrics"]}
            flows: dict[str, dict[str, Flow]] = {}
            for name, source, values in document["flows"]:
                latency = Histogram(**values.pop("latency"))
                flows.setdefault(name, {})[source] = Flow(**values, latency=latency)
            # An older version kept none.
            accounts = Accounts(**document["accounts"]) if "accounts" in document else Accounts(is_exact=False)
            self.id, self._metrics, self._flows, self.accounts = str(document["id"]), metrics, flows, accounts
            self.is_resumed = True
        except (ValueError, KeyError, TypeError, AttributeError):
            pass  # another version's, or cut short: as if the process had been killed
