"""What time it is, for what the agent measures: by its own clock while that is right, else by the control plane's.

The control plane says its time, and the agent knows how long ago at most; so it is known to within half of that. Time
is carried on by the host's clock since its boot, which nobody sets and which goes on over suspends and other processes:
what one agent process has learned is good for the next, and a clock that is set aright or wrong changes nothing. One
event loop; no I/O but the file of `load` and `save`.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import structlog

from agent.state import replace_file

STEP_S = 5.0
"""A clock that is wrong by no more than this is left alone."""
DRIFT = 200e-6
"""By how much two clocks may drift apart, in seconds by the second."""
HOLD_S = 600.0
"""After a step back, times go on one millisecond after the other until the clock has caught up, over no longer gap."""
FILE = "clock.json"

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Estimate:
    """The control plane's time is the host's uptime and `offset_s`, give or take `error_s` at the uptime `at_s`."""

    offset_s: float
    error_s: float
    at_s: float

    def error_at(self, uptime: float) -> float:
        """It grows as the clocks drift apart."""
        return self.error_s + abs(uptime - self.at_s) * DRIFT


class PlaneClock:
    """`boot` names the life of the host, which its uptime belongs to; empty when that is not known."""

    def __init__(
        self,
        *,
        boot: str,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        uptime: Callable[[], float] = lambda: time.clock_gettime(time.CLOCK_BOOTTIME),
    ) -> None:
        self._boot = boot
        self._now = now
        self._uptime = uptime
        self._estimate: Estimate | None = None
        self._is_wrong = False
        self._told_s = 0
        self._last = datetime.min.replace(tzinfo=UTC)

    @property
    def ahead_s(self) -> int:
        """By how much the host's clock is ahead, in whole seconds; 0 while it is right. Follows it in steps."""
        return self._told_s

    def heard(self, at: datetime, took_s: float) -> bool:
        """The control plane's time, at most so many seconds ago; whether a better estimate came of it."""
        uptime, half = self._uptime(), max(took_s, 0.0) / 2
        new = Estimate(at.timestamp() + half - uptime, half, uptime)
        old = self._estimate
        if old is not None:
            error = old.error_at(uptime)
            is_other = abs(new.offset_s - old.offset_s) > error + new.error_s
            if new.error_s > error and not is_other:
                return False
        self._estimate = new
        self._look()
        return True

    def now(self) -> datetime:
        """The time of a look in whole milliseconds, later than that of the look before."""
        found = self._look()
        found = found.replace(microsecond=found.microsecond // 1000 * 1000)
        if found <= self._last and self._last - found <= timedelta(seconds=HOLD_S):
            found = self._last + timedelta(milliseconds=1)
        self._last = found
        return found

    def load(self, folder: Path) -> None:
        """What an earlier process has learned in this life of the host."""
        try:
            document = json.loads((folder / FILE).read_bytes())
            if self._boot and document["boot"] == self._boot:
                self._estimate = Estimate(*(float(document[name]) for name in ("offset_s", "error_s", "at_s")))
                self._look()
        except FileNotFoundError:
            return
        except (OSError, ValueError, KeyError, TypeError) as error:
            log.warning("what was known of the control plane's clock cannot be read", reason=repr(error))

    def save(self, folder: Path) -> None:
        """For the next process; one that cannot read it learns it anew."""
        if self._estimate is None:
            return
        try:
            replace_file(folder / FILE, json.dumps({"boot": self._boot, **asdict(self._estimate)}).encode())
        except OSError as error:
            log.warning("what is known of the control plane's clock is not on disk", reason=error.strerror)

    def _look(self) -> datetime:
        """The time now, and whether the host's clock tells it."""
        own, uptime, estimate = self._now(), self._uptime(), self._estimate
        if estimate is None:
            return own
        ahead = own.timestamp() - uptime - estimate.offset_s
        # One that was found wrong has to be clearly right again, so that nobody hears of it again and again.
        limit = max(STEP_S / 2 if self._is_wrong else STEP_S, 2 * estimate.error_at(uptime))
        was_wrong, self._is_wrong = self._is_wrong, abs(ahead) > limit
        if self._is_wrong is not was_wrong or abs(ahead - self._told_s) > STEP_S:
            self._told_s = round(ahead) if self._is_wrong else 0
        if self._is_wrong and not was_wrong:
            log.warning("the clock of this host is wrong; times of metrics are corrected", ahead_s=self._told_s)
        elif was_wrong and not self._is_wrong:
            log.info("the clock of this host is right again")
        return own - timedelta(seconds=ahead) if self._is_wrong else own
