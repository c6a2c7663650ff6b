"""A pair of sessions under cuts, repetition, late deliveries of old sessions, drain, restarts, restores and new planes.

A model plane and a model agent, over the real session rules and outbox. Always: nothing is lost that no current plane
took away, and a generation never goes back. At the end of every story, after one undisturbed session: what is observed
is what is desired, and what the plane does not know still runs.
"""

from __future__ import annotations

import collections
from dataclasses import dataclass, field

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, multiple, rule

from headrace.messages import (
    AgentMessage,
    Close,
    Complete,
    Desired,
    Drain,
    Goodbye,
    Hello,
    Remove,
    ServerMessage,
    Welcome,
    Workloads,
)
from headrace.outbox import Outbox, key_of
from headrace.session import AgentSession, Known, PlaneSeen, ServerSession, State
from headrace.types import CloseReason, Observed

PIPELINES = ("a", "b", "c")
CONTENTS = ("red", "green", "blue")


@dataclass
class Plane:
    """Desired and removed pipelines with their generations; `seen` is what it was told of the agent."""

    instance: str
    epoch: int = 1
    counter: int = 0
    desired: dict[str, tuple[int, str]] = field(default_factory=dict)
    removed: dict[str, int] = field(default_factory=dict)
    seen: dict[str, int] = field(default_factory=dict)

    def apply(self, pipeline: str, content: str) -> None:
        self.counter += 1
        self.removed.pop(pipeline, None)
        self.desired[pipeline] = (self.counter, content)

    def delete(self, pipeline: str) -> None:
        if self.desired.pop(pipeline, None):
            self.counter += 1
            self.removed[pipeline] = self.counter

    def copy(self) -> Plane:
        return Plane(self.instance, self.epoch, self.counter, dict(self.desired), dict(self.removed), dict(self.seen))

    def learn(self, workloads: Workloads) -> None:
        if workloads.complete:
            self.seen.clear()
        for observed in workloads.observed:
            self.seen[observed.pipeline] = observed.desired
            if not observed.desired:
                del self.seen[observed.pipeline]
        # Above what this plane gave, though it may be below the counter: a lost or foreign history.
        if any(generation > self.given(pipeline) for pipeline, generation in self.seen.items()):
            self.counter = max(self.counter, *self.seen.values())
            self.epoch += 1
            for pipeline, (_, content) in tuple(self.desired.items()):
                self.apply(pipeline, content)

    def given(self, pipeline: str) -> int:
        return self.desired[pipeline][0] if pipeline in self.desired else self.counter

    def messages(self, *, stranger: bool) -> list[Desired | Remove]:
        news: list[Desired | Remove] = [
            Desired(pipeline=pipeline, generation=generation, sha256=content)
            for pipeline, (generation, content) in self.desired.items()
            if stranger or self.seen.get(pipeline) != generation
        ]
        news += [
            Remove(pipeline=pipeline, generation=generation)
            for pipeline, generation in self.removed.items()
            if self.seen.get(pipeline, generation + 1) <= generation
        ]
        return news


@dataclass
class Link:
    """One stream with both ends; what is in `up` and `down` is under way, in order, and lost at a cut."""

    plane: Plane
    agent: AgentSession
    server: ServerSession = field(default_factory=lambda: ServerSession(now=0.0))
    outbox: Outbox = field(default_factory=Outbox)
    waiting: dict[bytes, ServerMessage] = field(default_factory=dict)
    up: collections.deque[AgentMessage] = field(default_factory=collections.deque)
    down: collections.deque[ServerMessage] = field(default_factory=collections.deque)
    stranger: bool = False
    welcomed: PlaneSeen = field(default_factory=PlaneSeen)

    def post(self, message: ServerMessage) -> None:
        token = repr(message).encode()
        self.waiting[token] = message
        self.outbox.put(key_of(message), token)

    def flush(self) -> None:
        if self.server.is_open:
            while (token := self.outbox.take()) is not None:
                self.down.append(self.waiting[token])

    def sync(self) -> None:
        for message in self.plane.messages(stranger=self.stranger):
            self.post(message)
        self.post(Complete(fleet_revision=self.plane.counter))


class Sessions(RuleBasedStateMachine):
    links = Bundle("links")

    @initialize()
    def start(self) -> None:
        self.plane = Plane("i-1")
        self.backup = self.plane.copy()
        self.disk = PlaneSeen()
        self.running: dict[str, tuple[int, str]] = {}
        self.known = Known(self.disk)
        self.open: list[Link] = []
        self.newest: dict[str, int] = {}
        self.gone: dict[tuple[PlaneSeen, str], int] = {}
        self.planes = 1
        self.old: Plane | None = None

    # What people do.

    @rule(pipeline=st.sampled_from(PIPELINES), content=st.sampled_from(CONTENTS))
    def apply(self, pipeline: str, content: str) -> None:
        self.plane.apply(pipeline, content)
        self.wake()

    @rule(pipeline=st.sampled_from(PIPELINES))
    def delete(self, pipeline: str) -> None:
        self.plane.delete(pipeline)
        self.wake()

    @rule()
    def back_up(self) -> None:
        self.backup = self.plane.copy()

    @rule()
    def restore(self) -> None:
        """The plane of before lives on as a replica that has not noticed."""
        if self.backup.instance == self.plane.instance:
            self.old = self.plane
            self.plane = self.backup.copy()
            self.plane.epoch = self.old.epoch + 1

    @rule(pipeline=st.sampled_from(PIPELINES), deletes=st.booleans())
    def an_old_plane_goes_on(self, pipeline: str, deletes: bool) -> None:
        if self.old is not None:
            if deletes:
                self.old.delete(pipeline)
            else:
                self.old.apply(pipeline, "old")
            self.wake()

    @rule(applied=st.lists(st.tuples(st.sampled_from(PIPELINES), st.sampled_from(CONTENTS)), max_size=3))
    def move_to_another_plane(self, applied: list[tuple[str, str]]) -> None:
        self.planes += 1
        self.old = self.plane
        self.plane = Plane(f"i-{self.planes}")
        for pipeline, content in applied:
            self.plane.apply(pipeline, content)
        self.backup = self.plane.copy()

    # What happens to sessions. An old one may go on delivering beside a new one until it is cut.

    @rule(target=links, to_old=st.integers(0, 4).map(lambda number: number == 0))
    def connect(self, to_old: bool = False) -> Link:
        link = Link(self.old if to_old and self.old else self.plane, AgentSession(self.known, now=0.0))
        hello = Hello(
            agent_id="a",
            boot_id="b",
            session_number=1,
            instance_id=self.known.plane.instance_id,
            epoch=self.known.plane.epoch,
        )
        link.agent.sent(hello, now=0.0)
        link.up.append(hello)
        self.open.append(link)
        return link

    @rule()
    def settle(self) -> None:
        for link in tuple(self.open):
            self.exchange(link, turns=8)

    @rule(link=links, turns=st.integers(2, 8))
    def exchange(self, link: Link, turns: int) -> None:
        for _ in range(turns):
            self.plane_takes(link)
            link.flush()
            self.agent_takes(link)

    @rule(link=links, turns=st.integers(1, 4))
    def deliver_down(self, link: Link, turns: int) -> None:
        link.flush()
        for _ in range(turns):
            self.agent_takes(link)

    @rule(link=links, turns=st.integers(1, 4))
    def deliver_up(self, link: Link, turns: int) -> None:
        for _ in range(turns):
            self.plane_takes(link)

    @rule(link=links)
    def say_everything_again(self, link: Link) -> None:
        if link.server.state is State.LIVE:
            link.stranger = True
            link.sync()

    @rule(link=links)
    def drain(self, link: Link) -> None:
        if link.server.state in (State.SYNCING, State.LIVE):
            link.server.sent(Drain(window_ms=0))
            link.post(Drain(window_ms=0))

    @rule(link=links)
    def close(self, link: Link) -> None:
        if link.server.state in (State.SYNCING, State.LIVE, State.DRAINING):
            link.server.sent(Close(reason=CloseReason.SUPERSEDED))
            link.down.append(Close(reason=CloseReason.SUPERSEDED))

    @rule(target=links, link=consumes(links))
    def cut(self, link: Link):  # type: ignore[no-untyped-def] # what `multiple` returns has no public type
        self.open = [other for other in self.open if other is not link]
        return multiple()

    @rule()
    def restart_the_agent(self) -> None:
        """Its memory is what it had on disk; its sessions are gone, though their bundles may still be drawn."""
        for link in self.open:
            link.down.clear()
            link.agent.state = State.CLOSED
        self.open = []
        self.known = Known(self.disk, self.observed())
        self.gone = {}
        self.newest = {pipeline: generation for pipeline, (generation, _) in self.running.items()}

    # The two model hosts.

    def agent_takes(self, link: Link) -> None:
        if not link.down or link.agent.state is State.CLOSED:
            return
        message = link.agent.received(link.down.popleft(), now=0.0)
        match message:
            case Welcome():
                self.disk = PlaneSeen(instance_id=message.instance_id, epoch=message.epoch)
                report = Workloads(observed=tuple(self.observed()), complete=True)
                link.agent.sent(report, now=0.0)
                link.up.append(report)
            case Desired():
                floor = self.newest.get(message.pipeline, 0), self.gone.get((self.disk, message.pipeline), 0)
                assert message.generation >= max(floor)
                self.newest[message.pipeline] = message.generation
                self.running[message.pipeline] = (message.generation, message.sha256)
                self.tell(message.pipeline)
            case Remove():
                assert link.welcomed == self.disk  # never by an older epoch, or a plane that was left
                self.newest.pop(message.pipeline, None)
                self.gone[self.disk, message.pipeline] = message.generation
                if message.pipeline in self.running:
                    assert message.generation >= self.running.pop(message.pipeline)[0]
                    self.tell(message.pipeline)

    def plane_takes(self, link: Link) -> None:
        if not link.up or link.server.state is State.CLOSED:
            return
        message = link.server.received(link.up.popleft(), now=0.0)
        match message:
            case Hello():
                plane = link.plane
                link.stranger = (message.instance_id, message.epoch) != (plane.instance, plane.epoch)
                welcome = Welcome(session_id="s", instance_id=plane.instance, epoch=plane.epoch, want_workloads=True)
                link.server.sent(welcome)
                link.welcomed = PlaneSeen(instance_id=plane.instance, epoch=plane.epoch)
                link.down.append(welcome)
            case Workloads():
                link.plane.learn(message)
                if link.server.synced():
                    link.sync()
            case Goodbye():
                pass

    def wake(self) -> None:
        for link in self.open:
            if link.server.state in (State.LIVE, State.DRAINING):
                link.sync()

    def tell(self, pipeline: str) -> None:
        """To the newest open session alone, as the channel does."""
        for link in reversed(self.open):
            if link.agent.state in (State.SYNCING, State.LIVE, State.DRAINING):
                generation, _ = self.running.get(pipeline, (0, ""))
                report = Workloads(observed=(Observed(pipeline=pipeline, desired=generation),))
                link.agent.sent(report, now=0.0)
                link.up.append(report)
                return

    def observed(self) -> list[Observed]:
        return [Observed(pipeline=name, desired=generation) for name, (generation, _) in self.running.items()]

    @invariant()
    def what_the_agent_knows_covers_what_it_runs(self) -> None:
        for pipeline, (generation, _) in self.running.items():
            assert self.known.generations.get(pipeline, 0) >= generation

    def teardown(self) -> None:
        if not hasattr(self, "plane"):
            return
        self.open = []
        unknown = {
            pipeline: run
            for pipeline, run in self.running.items()
            if pipeline not in self.plane.desired and self.plane.removed.get(pipeline, -1) < run[0]
        }
        link = self.connect()
        for _ in range(10):
            while link.up or link.outbox or link.down:
                self.plane_takes(link)
                link.flush()
                self.agent_takes(link)
            self.wake()
        assert link.agent.state is State.LIVE
        wanted = {pipeline: content for pipeline, (_, content) in self.plane.desired.items()}
        kept = {pipeline: content for pipeline, (_, content) in unknown.items()}
        assert {pipeline: content for pipeline, (_, content) in self.running.items()} == wanted | kept
        assert {p: g for p, (g, _) in self.plane.desired.items()}.items() <= {
            p: g for p, (g, _) in self.running.items()
        }.items()


TestSessions = Sessions.TestCase
TestSessions.settings = settings(max_examples=200, stateful_step_count=50, deadline=None)
