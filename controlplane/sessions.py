"""The sessions that this replica holds, and what it knows of each agent while it does.

A session's picture of its agent is written by the calls for its link, which come one at a time, and by the reconciler;
all on one loop, without an await in between. Nothing here is stored.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from controlplane.incidents import Trouble, trouble_of
from controlplane.model import ObservedRow
from controlplane.phases import mark_of
from controlplane.plan import Asked, Mark
from headrace.server import Link
from headrace.types import Observed, Phase


class Session:
    """One open link, what its agent reported, and what it has been told on this link."""

    __slots__ = ("agent_id", "link", "live", "marks", "phases", "secrets", "told", "troubles", "trust", "variables",
                 "workloads")  # fmt: skip

    def __init__(self, link: Link) -> None:
        self.link = link
        self.agent_id = link.agent_id
        self.workloads: dict[str, Observed] = {}
        """As reported; what is gone is not in it."""
        self.phases: dict[str, Phase] = {}
        """As last written to the store."""
        self.marks: dict[str, Mark] = {}
        self.troubles: dict[str, Trouble] = {}
        """What people have been told about these workloads."""
        self.told: dict[str, Asked] = {}
        """What was posted on this link. It is ahead of what is reported, and order on a link holds, so it wins."""
        self.variables = b""
        self.secrets = b""
        """The last message with them, which all sessions that got the same share; empty before any."""
        self.trust: tuple[bytes, bool] | None = None
        """The authorities that the agent knows, and whether it was told to renew; None before any was said."""
        self.live = False
        """Whether the lists that Welcome wanted are here, so that plans can be made."""

    def resume(self, rows: Iterable[ObservedRow]) -> None:
        """Starts from what the store knows of the agent."""
        for row in rows:
            self.workloads[row.pipeline] = row.observed
            self.phases[row.pipeline] = row.phase
            if (mark := mark_of(row.phase)) is not None:
                self.marks[row.pipeline] = mark
            if (trouble := trouble_of(row.phase, row.observed)) is not None:
                self.troubles[row.pipeline] = trouble

    def asked(self) -> dict[str, Asked]:
        """What the agent was last asked for, by pipeline."""
        reported = {name: Asked(observed.desired) for name, observed in self.workloads.items()}
        return {**reported, **self.told}

    def asked_for(self, pipeline: str) -> Asked | None:
        """The same for one pipeline."""
        told = self.told.get(pipeline)
        if told is None and (observed := self.workloads.get(pipeline)) is not None:
            return Asked(observed.desired)
        return told


class Sessions:
    """The sessions of this replica, at most one per agent."""

    def __init__(self) -> None:
        self._by_agent: dict[str, Session] = {}

    def __len__(self) -> int:
        return len(self._by_agent)

    def __iter__(self) -> Iterator[Session]:
        """A snapshot: sessions may come and go while it is walked."""
        return iter(tuple(self._by_agent.values()))

    def get(self, agent_id: str) -> Session | None:
        """The session with an agent, if it is held here."""
        return self._by_agent.get(agent_id)

    def put(self, session: Session) -> Session | None:
        """Registers a session; returns the one that it replaces."""
        older = self._by_agent.get(session.agent_id)
        self._by_agent[session.agent_id] = session
        return older

    def drop(self, session: Session) -> bool:
        """Forgets a session; whether it was the agent's current one."""
        if self._by_agent.get(session.agent_id) is not session:
            return False
        del self._by_agent[session.agent_id]
        return True

    def holds(self, session: Session) -> bool:
        """Whether it is still the agent's current one here."""
        return self._by_agent.get(session.agent_id) is session
