"""The outbox against a model: latest wins per key, complete last, close ends."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from headrace.messages import Command, Complete, Desired, Drain, Heartbeat, Remove, Secrets, Variables
from headrace.outbox import COMPLETE, Outbox, key_of
from headrace.types import CommandKind

KEYS = st.sampled_from([COMPLETE, "desired/a", "desired/b", "variables", "command/1"])


def drained(outbox: Outbox) -> list[bytes]:
    return list(iter(outbox.take, None))


def test_a_pipelines_removal_takes_the_slot_of_its_desired() -> None:
    desired = Desired(pipeline="p", generation=1, sha256="")
    assert key_of(desired) == key_of(Remove(pipeline="p", generation=2)) == "desired/p"


def test_every_other_kind_has_a_slot_of_its_own() -> None:
    messages = (Variables(), Secrets(), Complete(fleet_revision=1), Drain(window_ms=1), Heartbeat())
    assert [key_of(message) for message in messages] == ["variables", "secrets", COMPLETE, "drain", "heartbeat"]
    assert key_of(Command(id="7", kind=CommandKind.LOGS)) == "command/7"


@given(puts=st.lists(st.tuples(KEYS, st.binary(max_size=2))))
def test_what_leaves_is_the_latest_of_each_key_in_order_of_arrival_and_complete_last(
    puts: list[tuple[str, bytes]],
) -> None:
    outbox = Outbox()
    model: dict[str, bytes] = {}
    for key, data in puts:
        outbox.put(key, data)
        model[key] = data
    expected = [data for key, data in model.items() if key != COMPLETE]
    expected += [model[COMPLETE]] if COMPLETE in model else []
    assert len(outbox) == len(model)
    assert drained(outbox) == expected


@given(steps=st.lists(st.one_of(st.none(), KEYS)))
def test_nothing_is_lost_or_doubled_when_taking_and_putting_alternate(steps: list[str | None]) -> None:
    outbox = Outbox()
    number, last_put, last_taken = 0, dict[str, bytes](), dict[str, bytes]()

    def take() -> None:
        data = outbox.take()
        if data is not None:
            key, _, _ = data.decode().partition("=")
            assert last_taken.get(key) != data
            last_taken[key] = data

    for step in steps:
        if step is None:
            take()
        else:
            number += 1
            last_put[step] = f"{step}={number}".encode()
            outbox.put(step, last_put[step])
    while outbox:
        take()
    assert last_taken == last_put


def test_a_close_takes_the_place_of_everything_and_nothing_follows_it() -> None:
    outbox = Outbox()
    outbox.put("desired/p", b"d")
    outbox.close(b"close")
    outbox.put("desired/q", b"q")
    outbox.close(b"another")
    assert drained(outbox) == [b"close"]
    assert outbox.closed


def test_a_close_without_a_word_drops_what_waits() -> None:
    outbox = Outbox()
    outbox.put("desired/p", b"d")
    outbox.close()
    assert drained(outbox) == []
