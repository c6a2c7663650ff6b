"""What a run says: one document of measurements, each beside the target that a release must reach."""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from tests.bench import machine


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """One number. `target` is the most (or, with `at_least`, the least) that it may be; None where there is none."""

    name: str
    value: float | None
    unit: str
    agents: int | None = None
    target: float | None = None
    at_least: bool = False
    detail: dict[str, Any] = field(default_factory=dict)
    load_average: float = field(default_factory=machine.load)

    @property
    def met(self) -> bool | None:
        """None where there is nothing to compare."""
        if self.target is None or self.value is None:
            return None
        return self.value >= self.target if self.at_least else self.value <= self.target


def document(measurements: Iterable[Measurement], arguments: Sequence[str]) -> str:
    """The JSON that a run prints."""
    items = [{**asdict(item), "met": item.met} for item in measurements]
    return json.dumps(
        {
            "arguments": list(arguments),
            "machine": machine.description(),
            "measurements": [{key: _short(value) for key, value in item.items()} for item in items],
            "missed": [item["name"] for item in items if item["met"] is False],
        },
        indent=1,
    )


def quantile(values: Sequence[float], share: float) -> float:
    """The value below which this share of them lies, 0 to 1."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def median(values: Iterable[float]) -> float:
    """The middle one."""
    return statistics.median(values)


def _short(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.4g}")
    if isinstance(value, dict):
        return {key: _short(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_short(item) for item in value]
    return value
