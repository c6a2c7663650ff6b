"""When to start an engine again that has ended, and when to try again what the surroundings prevented. Pure.

Facts in, a decision with its reason out; the caller brings the clock (seconds, any origin) and a roll of the dice
(0 to 1), which spreads the delays of many workloads that were hit by one cause.
"""

from __future__ import annotations

import signal
from collections.abc import Sequence
from dataclasses import dataclass

FIRST_DELAY_S = 1.0
LONGEST_DELAY_S = 60.0
WINDOW_S = 600.0
"""An exit is forgotten after this time."""
LOOP = 5
"""So many exits within the window are a crash loop."""
LONGEST_LOOP_DELAY_S = 300.0

_SENT = frozenset({signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP})


@dataclass(frozen=True, slots=True)
class Exit:
    """How a process ended: `status` is what it returned, or the negative of the signal; None when nobody can know."""

    at: float
    status: int | None

    def __str__(self) -> str:
        if self.status is None:
            return "the engine ended"
        if self.status < 0:
            return f"the engine was ended by {_signal_name(-self.status)}"
        return f"the engine ended with exit status {self.status}"

    @property
    def was_sent(self) -> bool:
        """Whether somebody outside ended it: by hand, or the kernel for want of memory."""
        return self.status is not None and -self.status in _SENT


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """Start again after `delay` seconds; `looping` is whether it has ended too often for one accident."""

    delay: float
    looping: bool
    reason: str


def restart(exits: Sequence[Exit], *, now: float, roll: float) -> Decision:
    """What follows from the exits so far, the newest last; there is at least one."""
    recent = [each for each in exits if now - each.at < WINDOW_S]
    count = max(len(recent), 1)
    looping = count >= LOOP
    delay = _delay(count, roll, LONGEST_LOOP_DELAY_S if looping else LONGEST_DELAY_S)
    times = f", {count} times within {WINDOW_S / 60:.0f} minutes" if count > 1 else ""
    return Decision(delay=delay, looping=looping, reason=f"{exits[-1]}{times}")


def retry_delay(failures: int, roll: float) -> float:
    """Seconds until an attempt that the surroundings prevented is made again; `failures` counts from 1."""
    return _delay(failures, roll, LONGEST_DELAY_S)


def _delay(count: int, roll: float, longest: float) -> float:
    """Doubles each time, up to a bound; between a half and the whole of it, by the roll."""
    full = min(longest, FIRST_DELAY_S * 2.0 ** min(count - 1, 32))
    return full * (0.5 + 0.5 * roll)


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
