"""How one engine is doing, over time: its health, what it gave up, how often it ended, when it may start again.

Fed with reports and exits by the workload's task; holds no process and reads no clock of its own.
"""

from __future__ import annotations

from agent.restart import Exit, restart
from agent.runtimes import Report
from headrace.types import Health

UNANSWERED = 2
"""After so many looks without an answer an engine counts as degraded,"""
STUCK = 6
"""and after so many it is ended."""


class Vitals:
    """Of the engine of one workload."""

    def __init__(self) -> None:
        self.health = Health.STARTING
        self.message = ""
        self.healthy_since: float | None = None
        self.restart_at = 0.0
        self._exits: list[Exit] = []
        self._given_up: int | None = None
        self._gave_up = False
        self._unanswered = 0

    def started(self) -> None:
        """A new content or process: what was seen of the old one says nothing of it."""
        self.health = Health.STARTING
        self.message = ""
        self.healthy_since = None
        self._given_up = None
        self._gave_up = False
        self._unanswered = 0

    def seen(self, report: Report, now: float) -> None:
        """The engine answered."""
        self._unanswered = 0
        before = report.given_up if self._given_up is None else self._given_up
        self._given_up = report.given_up
        # Counters start at 0 with a new process, also below what the old one had.
        rose = report.given_up > before
        self._gave_up = self._gave_up or rose
        if report.is_well and not rose:
            self.health, self.message = Health.HEALTHY, ""
            self.healthy_since = now if self.healthy_since is None else self.healthy_since
        else:
            self._degrade(report.message or "the engine calls itself unhealthy")

    def unanswered(self, reason: str) -> None:
        """The engine lives and did not answer."""
        self._unanswered += 1
        if self._unanswered >= UNANSWERED:
            self._degrade(reason)

    def ended(self, ending: Exit, detail: str, *, roll: float) -> float:
        """The engine ended, or could not be started; answers after how many seconds it may start again."""
        self._exits = [*self._exits[-20:], ending]
        decision = restart(self._exits, now=ending.at, roll=roll)
        self.restart_at = ending.at + decision.delay
        self.health = Health.CRASH_LOOPING if decision.looping else Health.STOPPED
        self.message = f"{decision.reason}: {detail}" if detail else decision.reason
        self.healthy_since = None
        return decision.delay

    def forgive(self) -> None:
        """Somebody wants it to start now, or something new does."""
        self._exits = []
        self.restart_at = 0.0

    @property
    def gave_up(self) -> bool:
        """Whether it gave up records since `started`."""
        return self._gave_up

    @property
    def is_stuck(self) -> bool:
        """Whether it has not answered for so long that only an end helps."""
        return self._unanswered >= STUCK

    def _degrade(self, message: str) -> None:
        self.health, self.message, self.healthy_since = Health.DEGRADED, message, None
