"""Counters that only grow, made of counters that start from zero whenever an engine does. Pure.

A reported value is what earlier lives of the counter came to, and what it has now. How much passed between the last
look at a life and its end nobody can know. Where nothing moved up to that last look, taken for this purpose right
before the change, and nothing was pending, it is taken for nothing; everywhere else the interval is counted as
uncertain. No value is ever made up: what was not seen is missing, and said to be. (Fluent Bit gathers its numbers once
a second, so what reaches a pipeline in the last second before a change, after an interval of quiet, is missed without a
word.)
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from agent.reporting.series import Raw, Scrape, Series

MAX_COUNTERS = 5_000


class Monotone:
    """The counters of one workload; `dump` and `load` carry them over to the next agent process."""

    def __init__(self) -> None:
        self.life = ""
        self.uncertain = 0
        """How many intervals may hide something."""
        self._counters: dict[Raw, tuple[float, float]] = {}
        """What earlier lives came to, and what this one has."""
        self._is_quiet = False
        self._is_final = False

    def take(self, scrape: Scrape, *, final: bool = False) -> dict[Series, float]:
        """The series that the engine has now; `final` marks a look right before the engine is changed or ended."""
        if scrape.life != self.life:
            if self.life and not (self._is_final and self._is_quiet):
                self.uncertain += 1
            self._start_life()
            moved = any(scrape.counters.values())
            self.life = scrape.life
        else:
            moved = any(value != self._now(raw) for raw, value in scrape.counters.items())
            if any(value < self._now(raw) for raw, value in scrape.counters.items()):
                self.uncertain += 1  # A counter that started over by itself.
        for raw, value in scrape.counters.items():
            before, now = self._counters.get(raw, (0.0, 0.0))
            if raw in self._counters or len(self._counters) < MAX_COUNTERS:
                self._counters[raw] = (before + now if value < now else before, value)
        self._is_quiet = not moved and not scrape.is_pending
        self._is_final = final
        return self._sums({raw.series for raw in scrape.counters})

    def disturb(self) -> None:
        """Nothing follows from the last look any more: the change did not come about, or the engine ended by itself."""
        self._is_final = False

    def _now(self, raw: Raw) -> float:
        return self._counters.get(raw, (0.0, 0.0))[1]

    def _start_life(self) -> None:
        self._counters = {raw: (before + now, 0.0) for raw, (before, now) in self._counters.items()}

    def _sums(self, present: set[Series]) -> dict[Series, float]:
        """Parts that are gone count on in a series that is there: what they came to has happened."""
        sums = dict.fromkeys(sorted(present), 0.0)
        for raw, (before, now) in self._counters.items():
            if raw.series in sums:
                sums[raw.series] += before + now
        return sums

    def dump(self) -> dict[str, Any]:
        """As JSON has it."""
        return {
            "life": self.life,
            "uncertain": self.uncertain,
            "quiet": self._is_quiet,
            "final": self._is_final,
            "counters": [[*raw.series, raw.part, *values] for raw, values in self._counters.items()],
        }

    @classmethod
    def load(cls, document: Mapping[str, Any]) -> Monotone:
        """What was dumped. Raises KeyError, TypeError and ValueError for what was not."""
        made = cls()
        made.life, made.uncertain = str(document["life"]), int(document["uncertain"])
        made._is_quiet, made._is_final = bool(document["quiet"]), bool(document["final"])
        for name, plugin, kind, part, before, now in document["counters"][:MAX_COUNTERS]:
            raw = Raw(Series(str(name), str(plugin), str(kind)), str(part))
            made._counters[raw] = (float(before), float(now))
        return made
