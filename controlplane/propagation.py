"""How long a change takes to reach an agent, and to run there: from the time of its revision on. Pure.

An agent that comes later gets what it missed in its own time; that is no propagation, and not measured.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from headrace.types import Observed

_FORGOTTEN = timedelta(hours=1)
_MOST = 200_000


@dataclass(slots=True)
class _Awaited:
    generation: int
    committed_at: datetime
    is_received: bool = False


class Propagation:
    """What was sent to agents because it changed, until they say that it runs; `received` and `applied` get seconds."""

    def __init__(self, received: Callable[[float], None], applied: Callable[[float], None]) -> None:
        self._received = received
        self._applied = applied
        self._awaited: dict[tuple[str, str], _Awaited] = {}

    def __len__(self) -> int:
        return len(self._awaited)

    def sent(self, agent_id: str, pipeline: str, *, generation: int, committed_at: datetime) -> None:
        """A change was posted to an agent; what it has not run of the pipeline before, it will not."""
        if len(self._awaited) >= _MOST:
            oldest = committed_at - _FORGOTTEN
            self._awaited = {key: each for key, each in self._awaited.items() if each.committed_at > oldest}
        if len(self._awaited) < _MOST:
            self._awaited[agent_id, pipeline] = _Awaited(generation, committed_at)

    def reported(self, agent_id: str, observed: Observed, *, now: datetime) -> None:
        """What an agent says of a pipeline."""
        awaited = self._awaited.get((agent_id, observed.pipeline))
        if awaited is None or observed.desired < awaited.generation:
            return
        seconds = max(0.0, (now - awaited.committed_at).total_seconds())
        if not awaited.is_received:
            awaited.is_received = True
            self._received(seconds)
        runs = observed.running is not None and observed.running.generation == awaited.generation
        if runs:
            self._applied(seconds)
        if runs or observed.desired > awaited.generation:
            del self._awaited[agent_id, observed.pipeline]
