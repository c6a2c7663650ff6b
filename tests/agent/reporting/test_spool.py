"""The spool: what is appended is read in order until it is acknowledged, whatever kills, fills or damages it."""

from __future__ import annotations

import os
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from agent.reporting import spool as spool_module
from agent.reporting.frames import HEAD_BYTES, Frame, frame, frames
from agent.reporting.spool import Point, Spool

START = datetime(2026, 1, 1, tzinfo=UTC)
BIG = 1 << 20


def points(number: int) -> list[Point]:
    """Of two series that every batch has, and of one of its own kind."""
    return [
        Point("a", (("plugin", "x"),), float(number)),
        Point("a", (("plugin", "y"),), 1.0),
        Point("b", (("plugin", str(number % 5)),), 2.0),
    ]


def append(spool: Spool, count: int) -> None:
    for _ in range(count):
        spool.append(START + timedelta(seconds=spool.last + 1), points(spool.last + 1))


def opened(folder: Path, bound: int = BIG) -> Spool:
    spool = Spool(folder, bound)
    spool.open()
    return spool


def whole(spool: Spool, after: int = 0) -> list[int]:
    """The sequences of what can be read, each batch looked at."""
    found: list[int] = []
    while batch := spool.read(found[-1] if found else after, most=7, size=BIG):
        for request in batch:
            (samples,) = request.samples
            series = {each.id: each for each in request.series}
            named = [
                Point(series[id].name, tuple(series[id].tags.items()), value)
                for id, value in zip(samples.series, samples.values, strict=True)
            ]
            assert named == points(request.sequence)
            assert samples.at == START + timedelta(seconds=request.sequence)
            assert len(series) == 3
            found.append(request.sequence)
    return found


def test_batches_come_back_in_order_and_again_until_they_are_acknowledged(tmp_path: Path) -> None:
    spool = opened(tmp_path)
    append(spool, 20)
    assert whole(spool) == whole(spool) == list(range(1, 21))
    spool.acknowledge(12)
    assert whole(spool) == list(range(13, 21))
    append(spool, 2)
    assert whole(spool, 20) == [21, 22]
    spool.acknowledge(22)
    assert whole(spool) == []
    append(spool, 1)
    assert whole(spool) == [23]


def test_a_batch_is_bounded_by_number_and_by_bytes(tmp_path: Path) -> None:
    spool = opened(tmp_path)
    append(spool, 20)
    assert [request.sequence for request in spool.read(0, most=3, size=BIG)] == [1, 2, 3]
    assert [request.sequence for request in spool.read(3, most=9, size=1)] == [4]


def test_the_next_process_goes_on_where_the_last_one_was_killed(tmp_path: Path) -> None:
    first = opened(tmp_path)
    append(first, 5)
    first.acknowledge(2)
    second = opened(tmp_path)
    append(second, 5)
    assert whole(second) == list(range(3, 11))
    second.acknowledge(10)
    third = opened(tmp_path)
    assert (third.last, whole(third), third.size) == (10, [], 0)
    append(third, 1)
    assert whole(third) == [11]


@given(cut=st.integers(1, 400), junk=st.binary(max_size=40))
@settings(max_examples=60)
def test_a_torn_tail_costs_what_was_torn(tmp_path_factory: pytest.TempPathFactory, cut: int, junk: bytes) -> None:
    folder = tmp_path_factory.mktemp("spool")
    append(opened(folder), 6)
    (path,) = folder.glob("*.seg")
    data = path.read_bytes()
    left = [each.sequence for each in frames(data[:-cut])]
    path.write_bytes(data[:-cut] + junk)
    spool = opened(folder)
    assert whole(spool) == left == list(range(1, len(left) + 1))
    append(spool, 2)
    assert whole(spool) == list(range(1, len(left) + 3))


def test_the_oldest_go_first_and_are_counted(tmp_path: Path) -> None:
    spool = opened(tmp_path, bound=32 << 10)
    append(spool, 3000)
    kept = whole(spool)
    assert kept == list(range(kept[0], 3001))
    assert spool.dropped == kept[0] - 1 > 1000
    assert spool.size <= 32 << 10
    assert sum(path.stat().st_size for path in tmp_path.glob("*.seg")) == spool.size


def test_what_the_store_has_is_no_loss_when_it_goes(tmp_path: Path) -> None:
    spool = opened(tmp_path, bound=32 << 10)
    for _ in range(3000):
        append(spool, 1)
        spool.acknowledge(spool.last)
    assert spool.dropped == 0
    assert spool.size < 8 << 10


def test_a_damaged_segment_is_read_up_to_the_damage_and_the_rest_is_counted(tmp_path: Path) -> None:
    spool = opened(tmp_path, bound=32 << 10)
    append(spool, 100)
    first, second, *_ = sorted(tmp_path.glob("*.seg"))
    data = bytearray(first.read_bytes())
    data[len(data) // 2] ^= 0xFF
    first.write_bytes(bytes(data))
    good = [each.sequence for each in frames(bytes(data))]
    found = whole(spool)
    begin = int(second.stem)
    assert found == [*good, *range(begin, 101)]
    assert spool.dropped == begin - 1 - len(good) > 0


def test_a_disk_that_takes_nothing_costs_the_batch_and_says_so_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spool = opened(tmp_path)
    append(spool, 2)
    with monkeypatch.context() as patch:
        patch.setattr(spool, "_write", _full)
        append(spool, 3)
    append(spool, 2)
    assert whole(spool) == [1, 2, 6, 7]
    assert spool.dropped == 3
    assert whole(opened(tmp_path)) == [1, 2, 6, 7]


def _full(segment: Any, data: bytes) -> None:
    with segment.path.open("ab") as file:
        file.write(data[: len(data) // 2])
    raise OSError(28, os.strerror(28))


def test_a_batch_that_no_message_can_carry_is_dropped(tmp_path: Path) -> None:
    spool = opened(tmp_path)
    spool.append(START, [Point("x" * (3 << 20), (), 1.0)])
    append(spool, 1)
    assert whole(spool) == [2]
    assert spool.dropped == 1


@given(st.lists(st.binary(max_size=50), max_size=8), st.integers(1, 1 << 40))
def test_frames_come_back_as_they_were(payloads: list[bytes], first: int) -> None:
    data = b"".join(frame(first + n, payload) for n, payload in enumerate(payloads))
    found = list(frames(data))
    assert [(each.sequence, each.payload) for each in found] == [(first + n, p) for n, p in enumerate(payloads)]
    assert not found or found[-1].end == len(data)


@given(st.binary(max_size=200))
def test_no_bytes_are_too_strange(data: bytes) -> None:
    for each in frames(data):
        assert isinstance(each, Frame)
        assert each.end <= len(data)


def test_any_flipped_bit_ends_the_reading_there() -> None:
    data = frame(1, b"one") + frame(2, b"two")
    for bit in range(8 * (HEAD_BYTES + 3)):
        bad = bytearray(data)
        bad[bit // 8] ^= 1 << bit % 8
        assert list(frames(bytes(bad))) == []


class Spooling(RuleBasedStateMachine):
    """Against a plain list: appends, reads, acknowledgements, kills, in any order, within a small bound."""

    bound = 16 << 10

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.spool = opened(Path(self.folder.name), self.bound)
        self.dropped = 0
        self.stored = 0

    def teardown(self) -> None:
        self.folder.cleanup()

    @rule(count=st.integers(1, 60))
    def append(self, count: int) -> None:
        append(self.spool, count)

    @rule()
    def kill(self) -> None:
        self.dropped += self.spool.dropped
        self.spool = opened(Path(self.folder.name), self.bound)

    @precondition(lambda self: self.spool.last > self.stored)
    @rule(data=st.data())
    def acknowledge(self, data: st.DataObject) -> None:
        self.stored = data.draw(st.integers(max(1, self.stored), self.spool.last))
        self.spool.acknowledge(self.stored)

    @invariant()
    def nothing_is_missing_or_doubled(self) -> None:
        found = whole(self.spool)
        gone = self.dropped + self.spool.dropped
        assert found == list(range(found[0], self.spool.last + 1)) if found else True
        assert len(found) >= self.spool.last - self.stored - gone
        assert self.spool.size <= self.bound


TestSpooling = Spooling.TestCase
TestSpooling.settings = settings(max_examples=40, stateful_step_count=20)


def test_the_bound_is_shared_by_segments() -> None:
    assert Spool(Path("x"), 64 << 20)._segment_bytes == spool_module.LARGEST
