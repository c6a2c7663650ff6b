"""The delays of every retry, as tenacity policies: full jitter, so that a fleet that lost one server spreads by itself.

A policy is told how many attempts failed in a row and says how long to wait; it keeps no state. Chance comes from the
`random.Random` that is passed in.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

import tenacity
from tenacity.wait import wait_base

CONNECT_MAX_S = 60.0
"""The longest delay between two attempts to connect."""


@dataclass(frozen=True, slots=True)
class FullJitter(wait_base):
    """Between 0 and min(`maximum`, `first` · 2ⁿ) seconds after failure n = 0, 1, …"""

    rng: random.Random
    first: float = 0.5
    maximum: float = CONNECT_MAX_S

    def __call__(self, retry_state: tenacity.RetryCallState) -> float:
        return self.delay(retry_state.attempt_number - 1)

    def delay(self, failures: int) -> float:
        """Seconds to wait after `failures` failed attempts before the one that failed last."""
        # 2**n overflows a float long after it stopped to matter.
        return self.rng.uniform(0.0, min(self.maximum, self.first * 2.0 ** min(failures, 32)))


def patient(rng: random.Random, *, minutes: float = 5.0) -> float:
    """Seconds to wait where only a person can help: the given minutes, give or take a third."""
    return 60.0 * minutes * rng.uniform(2 / 3, 4 / 3)
