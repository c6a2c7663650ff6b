"""The session tables walked in full, and each rule of both roles."""

from __future__ import annotations

import itertools
import typing

import pytest

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
from headrace.session import (
    AGENT,
    PROTOCOL_MAX,
    SERVER,
    AgentSession,
    Known,
    Liveness,
    PlaneSeen,
    ServerSession,
    State,
    Synced,
    negotiate,
)
from headrace.types import CloseReason, CommandKind, Facts, Observed

HELLO = Hello(agent_id="a-1", boot_id="b", session_number=1)
SAMPLES: dict[type, object] = {
    type(message): message
    for message in (
        HELLO,
        Proof(signature=b""),
        Facts(name="a"),
        Workloads(),
        Heartbeat(),
        Answer(command_id="c", ok=True),
        Goodbye(),
        Welcome(session_id="s", instance_id="i", epoch=1),
        Challenge(nonce=b""),
        Desired(pipeline="p", generation=1, sha256=""),
        Remove(pipeline="p", generation=1),
        Variables(),
        Secrets(),
        Authorities(ca_bundle=b""),
        Complete(fleet_revision=1),
        Drain(window_ms=1000),
        Command(id="c", kind=CommandKind.LOGS),
        Close(reason=CloseReason.DRAINED),
    )
}
FROM_AGENT = typing.get_args(AgentMessage)
FROM_SERVER = typing.get_args(ServerMessage)


def welcome(instance: str = "i", epoch: int = 1, heartbeat_ms: int = 20_000, **wants: bool) -> Welcome:
    return Welcome(session_id="s", instance_id=instance, epoch=epoch, heartbeat_ms=heartbeat_ms, **wants)


def greeted(known: Known | None = None, *, instance: str = "i", epoch: int = 1, now: float = 0.0) -> AgentSession:
    session = AgentSession(known or Known(PlaneSeen()), now=now)
    session.sent(HELLO, now=now)
    session.received(welcome(instance, epoch), now=now)
    return session


def claimed(now: float = 0.0, **wants: bool) -> ServerSession:
    session = ServerSession(now=now)
    session.received(HELLO, now=now)
    session.sent(welcome(**wants))
    return session


def test_every_kind_of_message_has_a_sample() -> None:
    assert set(SAMPLES) == set(FROM_AGENT) | set(FROM_SERVER)


@pytest.mark.parametrize("table", [AGENT, SERVER], ids=["agent", "server"])
def test_every_row_leads_to_a_state_of_its_own_table(table: dict[State, dict[type, State]]) -> None:
    for row in table.values():
        assert set(row.values()) <= set(table)
    assert table[State.CLOSED] == {}


@pytest.mark.parametrize("table", [AGENT, SERVER], ids=["agent", "server"])
def test_every_state_can_be_reached_and_left_for_closed(table: dict[State, dict[type, State]]) -> None:
    start = next(iter(table))
    reached, frontier = {start}, [start]
    while frontier:
        for state in table[frontier.pop()].values():
            if state not in reached:
                reached.add(state)
                frontier.append(state)
    assert reached == set(table)
    for state in set(table) - {State.CLOSED, State.IDLE}:
        assert State.CLOSED in table[state].values()


@pytest.mark.parametrize(
    ("state", "kind"),
    list(itertools.product(AGENT, (*FROM_AGENT, *FROM_SERVER))),
    ids=lambda value: getattr(value, "__name__", str(value)),
)
def test_an_agent_session_takes_exactly_what_its_table_allows(state: State, kind: type) -> None:
    session = AgentSession(Known(PlaneSeen()), now=0.0)
    session.state = state
    message: typing.Any = SAMPLES[kind]

    def step() -> None:
        if kind in FROM_AGENT and kind is not Heartbeat:
            session.sent(message, now=1.0)
        else:
            session.received(message, now=1.0)

    if kind in AGENT[state]:
        step()
        assert session.state is AGENT[state][kind]
    else:
        with pytest.raises(ProtocolError) as caught:
            step()
        assert kind.__name__ in caught.value.message
        assert state.value in caught.value.message


@pytest.mark.parametrize(
    ("state", "kind"),
    list(itertools.product(SERVER, FROM_AGENT)),
    ids=lambda value: getattr(value, "__name__", str(value)),
)
def test_a_server_session_takes_exactly_what_its_table_allows(state: State, kind: type) -> None:
    session = ServerSession(now=0.0)
    session.state = state
    message: typing.Any = SAMPLES[kind]
    if kind in SERVER[state]:
        assert session.received(message, now=1.0) is message
        assert session.state is SERVER[state][kind]
    else:
        with pytest.raises(ProtocolError, match=f"{kind.__name__} is not allowed while {state.value}"):
            session.received(message, now=1.0)
        assert session.state is state


def test_a_kind_that_this_version_does_not_know_is_counted_in_any_state() -> None:
    agent, server = AgentSession(Known(PlaneSeen()), now=0.0), ServerSession(now=0.0)
    assert agent.received(None, now=1.0) is None
    assert server.received(None, now=1.0) is None
    assert (agent.ignored, server.ignored) == (1, 1)


def test_a_challenge_is_answered_before_the_agent_is_let_in() -> None:
    session = AgentSession(Known(PlaneSeen()), now=0.0)
    session.sent(HELLO, now=0.0)
    challenge = Challenge(nonce=b"x")
    assert session.received(challenge, now=0.0) is challenge
    session.sent(Proof(signature=b"s"), now=0.0)
    assert session.state is State.GREETING


def test_a_session_is_live_when_everything_has_been_sent() -> None:
    session = greeted()
    assert session.state is State.SYNCING
    session.received(Complete(fleet_revision=7), now=1.0)
    assert session.state is State.LIVE


# The rules about planes and generations.


def test_a_generation_below_the_known_one_is_stale_whoever_sends_it() -> None:
    known = Known(PlaneSeen(instance_id="i", epoch=1), [Observed(pipeline="p", desired=5)])
    for instance, epoch in (("i", 1), ("i", 2), ("j", 9)):
        session = greeted(known, instance=instance, epoch=epoch)
        assert session.received(Desired(pipeline="p", generation=4, sha256=""), now=1.0) is None
        assert session.received(Remove(pipeline="p", generation=4), now=1.0) is None
        assert session.ignored == 2


def test_the_known_generation_may_be_repeated() -> None:
    session = greeted(Known(PlaneSeen(), [Observed(pipeline="p", desired=5)]))
    message = Desired(pipeline="p", generation=5, sha256="")
    assert session.received(message, now=1.0) is message
    assert session.received(message, now=1.0) is message


def test_a_removal_is_remembered_so_that_what_came_before_it_stays_gone() -> None:
    known = Known(PlaneSeen())
    assert greeted(known).received(Remove(pipeline="p", generation=5), now=1.0) is not None
    assert greeted(known).received(Desired(pipeline="p", generation=4, sha256=""), now=2.0) is None


def test_an_older_epoch_of_the_instance_takes_nothing_away_and_does_not_set_the_epoch_back() -> None:
    known = Known(PlaneSeen(instance_id="i", epoch=3), [Observed(pipeline="p", desired=5)])
    session = AgentSession(known, now=0.0)
    session.sent(HELLO, now=0.0)
    shown = session.received(welcome("i", 2), now=0.0)
    assert isinstance(shown, Welcome)
    assert shown.epoch == 3
    assert known.plane == PlaneSeen(instance_id="i", epoch=3)
    assert session.received(Remove(pipeline="p", generation=9), now=1.0) is None
    assert session.received(Desired(pipeline="p", generation=6, sha256=""), now=1.0) is not None


def test_a_session_takes_nothing_away_once_another_plane_was_seen() -> None:
    known = Known(PlaneSeen(instance_id="i", epoch=1), [Observed(pipeline="p", desired=5)])
    old = greeted(known, instance="i", epoch=1)
    new = greeted(known, instance="j", epoch=1)
    assert old.received(Remove(pipeline="p", generation=9), now=1.0) is None
    assert new.received(Remove(pipeline="p", generation=9), now=1.0) is not None


def test_a_removal_binds_only_the_plane_that_removed() -> None:
    known = Known(PlaneSeen())
    greeted(known, instance="i", epoch=1).received(Remove(pipeline="p", generation=5), now=1.0)
    restored = greeted(known, instance="i", epoch=2)
    assert restored.received(Desired(pipeline="p", generation=3, sha256=""), now=2.0) is not None


def test_what_is_here_binds_every_plane() -> None:
    known = Known(PlaneSeen())
    greeted(known, instance="i", epoch=1).received(Desired(pipeline="p", generation=5, sha256=""), now=1.0)
    other = greeted(known, instance="j", epoch=1)
    assert other.received(Desired(pipeline="p", generation=3, sha256=""), now=2.0) is None


# Heartbeats of the agent.


def test_an_idle_agent_sends_a_heartbeat_each_interval_and_asks_after_two() -> None:
    session = greeted(now=0.0)
    assert session.wake_at() == 20.0
    assert session.heartbeat(now=19.9) is None
    assert session.heartbeat(now=20.0) == Heartbeat(reply=False)
    session.sent(Heartbeat(), now=20.0)
    assert session.wake_at() == 40.0
    assert session.heartbeat(now=40.0) == Heartbeat(reply=True)
    session.sent(Heartbeat(reply=True), now=40.0)
    assert session.heartbeat(now=41.0) is None
    assert session.wake_at() == 60.0
    assert not session.is_dead(now=59.9)
    assert session.is_dead(now=60.0)


def test_an_agent_that_talks_all_the_time_still_asks_a_silent_server() -> None:
    session = greeted(now=0.0)
    for second in range(1, 40):
        session.sent(Workloads(), now=float(second))
        assert session.heartbeat(now=float(second)) is None
    session.sent(Workloads(), now=40.0)
    assert session.heartbeat(now=40.0) == Heartbeat(reply=True)


@pytest.mark.parametrize(
    "kind", [kind for kind in FROM_SERVER if kind in AGENT[State.LIVE]], ids=lambda kind: kind.__name__
)
def test_any_message_counts_as_a_sign_of_life(kind: type) -> None:
    session = greeted(now=0.0)
    message: typing.Any = SAMPLES[kind]
    session.received(message, now=59.0)
    assert not session.is_dead(now=100.0)


def test_a_heartbeat_that_asks_is_answered_once() -> None:
    session = greeted(now=0.0)
    assert session.received(Heartbeat(reply=True), now=1.0) is None
    assert session.heartbeat(now=1.0) == Heartbeat()
    assert session.heartbeat(now=1.0) is None


def test_nothing_is_due_before_welcome() -> None:
    session = AgentSession(Known(PlaneSeen()), now=0.0)
    session.sent(HELLO, now=0.0)
    assert session.wake_at() is None
    assert session.heartbeat(now=1e6) is None
    assert not session.is_dead(now=1e6)


def test_a_drain_spreads_agents_over_its_window() -> None:
    session = greeted()
    session.received(Drain(window_ms=8000), now=10.0)
    assert session.state is State.DRAINING
    assert [session.move_at(now=10.0, chance=chance) for chance in (0.0, 0.5, 0.75)] == [10.0, 14.0, 16.0]


# The control plane's role.


@pytest.mark.parametrize("want_facts", [False, True])
@pytest.mark.parametrize("want_workloads", [False, True])
def test_a_session_is_synced_once_when_the_wanted_lists_have_come(want_facts: bool, want_workloads: bool) -> None:
    session = claimed(want_facts=want_facts, want_workloads=want_workloads)
    assert session.synced() is not (want_facts or want_workloads)
    session.received(Facts(name="a"), now=1.0)
    session.received(Workloads(complete=True), now=1.0)
    assert session.synced() is (want_facts or want_workloads)
    assert session.state is State.LIVE
    assert not session.synced()


def test_a_change_among_the_workloads_is_not_the_list_that_was_wanted() -> None:
    session = claimed(want_workloads=True)
    session.received(Workloads(observed=(Observed(pipeline="p"),)), now=1.0)
    assert not session.synced()


def test_a_session_that_drains_before_it_is_synced_is_synced_all_the_same() -> None:
    session = claimed(want_facts=True)
    session.sent(Drain(window_ms=1))
    session.received(Facts(name="a"), now=1.0)
    assert session.synced()
    assert session.state is State.DRAINING
    assert not session.synced()


def test_nothing_is_synced_before_welcome_or_after_the_end() -> None:
    session = ServerSession(now=0.0)
    assert not session.synced()
    session.received(HELLO, now=0.0)
    assert not session.synced()
    session.sent(welcome())
    session.received(Goodbye(), now=1.0)
    assert not session.synced()


def test_silence_makes_suspect_after_three_heartbeats_and_lost_after_five() -> None:
    session = claimed(now=0.0)
    session.received(Heartbeat(), now=100.0)
    seen = {silence: session.liveness(now=100.0 + silence) for silence in (0.0, 59.9, 60.0, 99.9, 100.0, 1e6)}
    assert seen == {
        0.0: Liveness.ALIVE,
        59.9: Liveness.ALIVE,
        60.0: Liveness.SUSPECT,
        99.9: Liveness.SUSPECT,
        100.0: Liveness.LOST,
        1e6: Liveness.LOST,
    }


def test_the_newest_common_protocol_is_chosen() -> None:
    assert negotiate(HELLO) == 1
    newer = Hello(agent_id="a", boot_id="b", session_number=1, protocol_min=1, protocol_max=PROTOCOL_MAX + 7)
    assert negotiate(newer) == PROTOCOL_MAX


def test_protocols_without_overlap_name_both_ranges_and_the_older_side() -> None:
    newer = Hello(
        agent_id="a", boot_id="b", session_number=1, protocol_min=PROTOCOL_MAX + 1, protocol_max=PROTOCOL_MAX + 2
    )
    with pytest.raises(ProtocolError, match="protocol 2 to 3, this control plane 1 to 1; upgrade the control plane"):
        negotiate(newer)
    older = Hello(agent_id="a", boot_id="b", session_number=1, protocol_min=0, protocol_max=0)
    with pytest.raises(ProtocolError, match="upgrade the agent"):
        negotiate(older)


def test_an_agent_refuses_a_protocol_that_it_does_not_speak() -> None:
    session = AgentSession(Known(PlaneSeen()), now=0.0)
    session.sent(HELLO, now=0.0)
    with pytest.raises(ProtocolError, match="chose protocol 9"):
        session.received(Welcome(session_id="s", instance_id="i", epoch=1, protocol=9), now=0.0)


def test_synced_is_an_event_of_open_server_sessions_alone() -> None:
    assert {state for state, row in SERVER.items() if Synced in row} == {State.SYNCING, State.DRAINING}
    assert not any(Synced in row for row in AGENT.values())
