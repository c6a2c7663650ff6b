"""The control channel's state machines, both roles, as tables; pure: no I/O, clock or chance of its own.

A session tells its owner what a message means and what is due; the owner sends, receives and keeps time. Times are
seconds of any one monotonic clock. What is illegal in a state is a ProtocolError, and a message kind that is newer than
this version (None from the codec) is counted and ignored. Sessions are not thread-safe.

Agent role. One `Known` outlives every session of the process: the plane that was seen last, and the newest generation
of each pipeline. From it follow the rules that make restored, foreign and lagging planes harmless:

- a generation below the one that is here is stale and ignored, whoever sends it; an equal one is a repetition;
- nothing that a plane removed comes back by what the same instance and epoch had said before;
- a session whose plane is not (or no longer) the last one seen, such as an older epoch's, takes nothing away;
- absence takes nothing away: only `Remove` does.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from headrace.errors import ProtocolError
from headrace.messages import (
    AgentMessage,
    Answer,
    Authorities,
    Challenge,
    Close,
    Command,
    Complete,
    Desired,
    Drain,
    Goodbye,
    Heartbeat,
    Hello,
    Proof,
    Remove,
    Secrets,
    ServerMessage,
    Variables,
    Welcome,
    Workloads,
)
from headrace.types import CloseReason, Facts, Observed

PROTOCOL_MIN = 1
PROTOCOL_MAX = 1

# Heartbeat intervals without a word, counted by the agent: then it asks for a reply; then it gives the session up.
_ASK_AFTER, _DEAD_AFTER = 2, 3
# ... and by the control plane: then the agent is suspect; then it is lost.
_SUSPECT_AFTER, _LOST_AFTER = 3, 5


class CloseError(Exception):
    """A host refuses or ends a session: becomes Close on the wire, never a status."""

    def __init__(self, reason: CloseReason, message: str = "", retry_after_ms: int = 0) -> None:
        super().__init__(message or reason.value)
        self.reason = reason
        self.message = message
        self.retry_after_ms = retry_after_ms


class State(StrEnum):
    """Of a session; the first row is the agent's own, the second the control plane's."""

    IDLE, GREETING = "idle", "greeting"
    AWAITING_HELLO, CHALLENGING, CLAIMING = "awaiting_hello", "challenging", "claiming"
    SYNCING, LIVE, DRAINING, CLOSED = "syncing", "live", "draining", "closed"


class Synced:
    """Not a message: the control plane has got every list that its Welcome asked for."""


_Row = Mapping[type[Any], State]


# What an open session may say without moving; Goodbye and Close end it whatever else it does.
_ORDINARY: tuple[type[Any], ...] = (
    *(Facts, Workloads, Answer, Heartbeat),
    *(Desired, Remove, Variables, Secrets, Authorities, Command, Complete),
)


def _open(stay: State, moves: _Row) -> _Row:
    return {**dict.fromkeys(_ORDINARY, stay), **moves, Goodbye: State.CLOSED, Close: State.CLOSED}


# State -> kind of message, sent or received alike -> next state.
AGENT: Mapping[State, _Row] = {
    State.IDLE: {Hello: State.GREETING},
    State.GREETING: {
        Welcome: State.SYNCING,
        Challenge: State.GREETING,
        Proof: State.GREETING,
        Close: State.CLOSED,
        Goodbye: State.CLOSED,
    },
    State.SYNCING: _open(State.SYNCING, {Complete: State.LIVE, Drain: State.DRAINING}),
    State.LIVE: _open(State.LIVE, {Drain: State.DRAINING}),
    State.DRAINING: _open(State.DRAINING, {Drain: State.DRAINING}),
    State.CLOSED: {},
}
SERVER: Mapping[State, _Row] = {
    State.AWAITING_HELLO: {Hello: State.CLAIMING, Close: State.CLOSED},
    State.CHALLENGING: {Proof: State.CLAIMING, Close: State.CLOSED},
    State.CLAIMING: {Welcome: State.SYNCING, Challenge: State.CHALLENGING, Close: State.CLOSED},
    State.SYNCING: _open(State.SYNCING, {Synced: State.LIVE, Drain: State.DRAINING}),
    State.LIVE: _open(State.LIVE, {Drain: State.DRAINING}),
    State.DRAINING: _open(State.DRAINING, {Synced: State.DRAINING, Drain: State.DRAINING}),
    State.CLOSED: {},
}


def _next(table: Mapping[State, _Row], state: State, kind: type[Any]) -> State:
    try:
        return table[state][kind]
    except KeyError:
        allowed = ", ".join(sorted(known.__name__ for known in table[state])) or "nothing"
        raise ProtocolError(f"{kind.__name__} is not allowed while {state}; allowed: {allowed}") from None


@dataclass(frozen=True, slots=True, kw_only=True)
class PlaneSeen:
    """The management plane that an agent last spoke with; empty and 0 before any."""

    instance_id: str = ""
    epoch: int = 0


class Known:
    """What an agent knows of its planes for the life of its process, shared by all of its sessions."""

    __slots__ = ("generations", "plane", "removed")

    def __init__(self, plane: PlaneSeen, workloads: Iterable[Observed] = ()) -> None:
        self.plane = plane
        self.generations = {observed.pipeline: observed.desired for observed in workloads}
        """Of what is here. A plane learns them, and stamps above them where it has to."""
        self.removed: dict[str, int] = {}
        """Of what is gone. No plane learns these, so they bind only the one that removed."""

    def is_stale(self, pipeline: str, generation: int) -> bool:
        """Whether something newer is known of this pipeline, be it a removal."""
        return generation < max(self.generations.get(pipeline, 0), self.removed.get(pipeline, 0))

    def meet(self, plane: PlaneSeen) -> None:
        """This is the plane from now on."""
        if plane != self.plane:
            self.plane = plane
            self.removed.clear()

    def take(self, message: Desired | Remove) -> None:
        """This is the newest of its pipeline from now on."""
        if isinstance(message, Desired):
            self.removed.pop(message.pipeline, None)
            self.generations[message.pipeline] = message.generation
        else:
            self.generations.pop(message.pipeline, None)
            self.removed[message.pipeline] = message.generation


class AgentSession:
    """The agent's side of one session."""

    __slots__ = ("_asked", "_interval", "_known", "_last_heard", "_last_sent", "_owes_reply", "_plane", "drain",
                 "ignored", "state")  # fmt: skip

    def __init__(self, known: Known, *, now: float) -> None:
        self.state = State.IDLE
        self.drain: Drain | None = None
        self.ignored = 0
        """Messages that were stale, or of a kind that this version does not know."""
        self._known = known
        self._plane = PlaneSeen()
        self._interval = 0.0
        self._last_sent = self._last_heard = now
        self._asked = self._owes_reply = False

    def sent(self, message: AgentMessage, *, now: float) -> None:
        """To be called with each message before it goes out. Raises ProtocolError for our own mistakes."""
        self.state = _next(AGENT, self.state, type(message))
        self._last_sent = now

    def received(self, message: ServerMessage | None, *, now: float) -> ServerMessage | None:
        """What the owner has to act on; None when there is nothing to do. Raises ProtocolError.

        A Welcome comes back with the epoch to remember: the newest of the instance.
        """
        self.heard(now=now)
        if message is None:
            self.ignored += 1
            return None
        self.state = _next(AGENT, self.state, type(message))
        match message:
            case Welcome():
                return self._welcomed(message)
            case Desired():
                return self._take(message)
            case Remove():
                return self._take(message, from_elsewhere=self._plane != self._known.plane)
            case Heartbeat():
                self._owes_reply = self._owes_reply or message.reply
                return None
            case Drain():
                self.drain = message
        return message

    def heard(self, *, now: float) -> None:
        """The other end gave a sign of life, or we were busy with what it said."""
        self._last_heard = now
        self._asked = False

    def heartbeat(self, *, now: float) -> Heartbeat | None:
        """The heartbeat that is due now, if one is: after an idle interval, on request, or to ask after the other."""
        if not self._interval:
            return None
        ask = not self._asked and now - self._last_heard >= _ASK_AFTER * self._interval
        if not (ask or self._owes_reply or now - self._last_sent >= self._interval):
            return None
        self._asked = self._asked or ask
        self._owes_reply = False
        return Heartbeat(reply=ask)

    def is_dead(self, *, now: float) -> bool:
        """Nothing was heard for so long that the connection is only half open."""
        return bool(self._interval) and now - self._last_heard >= _DEAD_AFTER * self._interval

    def wake_at(self) -> float | None:
        """When to look at `heartbeat` and `is_dead` again; None before Welcome."""
        if not self._interval:
            return None
        patience = _DEAD_AFTER if self._asked else _ASK_AFTER
        return min(self._last_sent + self._interval, self._last_heard + patience * self._interval)

    def move_at(self, *, now: float, chance: float) -> float:
        """When to open the next session during a drain; `chance` in [0, 1) spreads the agents over the window."""
        return now + chance * (self.drain.window_ms / 1000 if self.drain else 0.0)

    def _welcomed(self, welcome: Welcome) -> Welcome:
        if not PROTOCOL_MIN <= welcome.protocol <= PROTOCOL_MAX:
            raise ProtocolError(
                f"the control plane chose protocol {welcome.protocol}; "
                f"this agent speaks {PROTOCOL_MIN} to {PROTOCOL_MAX}"
            )
        self._interval = welcome.heartbeat_ms / 1000
        self._plane = PlaneSeen(instance_id=welcome.instance_id, epoch=welcome.epoch)
        last = self._known.plane
        if last.instance_id == welcome.instance_id and welcome.epoch < last.epoch:
            return dataclasses.replace(welcome, epoch=last.epoch)
        self._known.meet(self._plane)
        return welcome

    def _take(self, message: Desired | Remove, *, from_elsewhere: bool = False) -> Desired | Remove | None:
        if from_elsewhere or self._known.is_stale(message.pipeline, message.generation):
            self.ignored += 1
            return None
        self._known.take(message)
        return message


class Liveness(StrEnum):
    """What the silence of an agent means: 3 heartbeats missed make it suspect, 5 lost."""

    ALIVE = "alive"
    SUSPECT = "suspect"
    LOST = "lost"


class ServerSession:
    """The control plane's side of one session."""

    __slots__ = ("_interval", "_wanted", "ignored", "last_heard", "state")

    def __init__(self, *, now: float) -> None:
        self.state = State.AWAITING_HELLO
        self.ignored = 0
        self.last_heard = now
        self._interval = 0.0
        self._wanted: set[type[Any]] | None = None

    @property
    def is_open(self) -> bool:
        """Welcome was sent, and nothing ended the session since."""
        return self.state in (State.LIVE, State.SYNCING, State.DRAINING)

    def sent(self, message: Welcome | Challenge | Drain | Close) -> None:
        """To be called before one of these goes out. Raises ProtocolError for our own mistakes."""
        self.state = _next(SERVER, self.state, type(message))
        if isinstance(message, Welcome):
            self._interval = message.heartbeat_ms / 1000
            self._wanted = {kind for kind, want in _WANTS.items() if getattr(message, want)}

    def received(self, message: AgentMessage | None, *, now: float) -> AgentMessage | None:
        """What the owner has to act on; None for a kind that this version does not know. Raises ProtocolError."""
        self.last_heard = now
        if message is None:
            self.ignored += 1
            return None
        self.state = _next(SERVER, self.state, type(message))
        if self._wanted and not (isinstance(message, Workloads) and not message.complete):
            self._wanted.discard(type(message))
        return message

    def synced(self) -> bool:
        """True once: when every list that was wanted has come, at once if none was."""
        if self._wanted is None or self._wanted or not self.is_open:
            return False
        self._wanted = None
        self.state = _next(SERVER, self.state, Synced)
        return True

    def liveness(self, *, now: float) -> Liveness:
        """By how many heartbeats were missed."""
        missed = (now - self.last_heard) / self._interval if self._interval else 0.0
        if missed < _SUSPECT_AFTER:
            return Liveness.ALIVE
        return Liveness.SUSPECT if missed < _LOST_AFTER else Liveness.LOST


_WANTS: Mapping[type[Any], str] = {Facts: "want_facts", Workloads: "want_workloads"}


def negotiate(hello: Hello) -> int:
    """The newest protocol that both ends speak. Raises ProtocolError that names both ranges and who is too old."""
    protocol = min(hello.protocol_max, PROTOCOL_MAX)
    if protocol < max(hello.protocol_min, PROTOCOL_MIN):
        older = "agent" if hello.protocol_max < PROTOCOL_MIN else "control plane"
        raise ProtocolError(
            f"agent {hello.agent_id!r} speaks protocol {hello.protocol_min} to {hello.protocol_max}, "
            f"this control plane {PROTOCOL_MIN} to {PROTOCOL_MAX}; upgrade the {older}"
        )
    return protocol
