"""Backup and restore: whole, between backends, and all or nothing."""

from __future__ import annotations

import gzip
import json
import random
import tempfile
import tracemalloc
from datetime import timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from controlplane.model import BlobRow, ChangeRow, EventRow, PlaneRow, Topic, VariableRow
from controlplane.state import Store
from headrace.errors import InvalidError
from tests.conftest import Clock
from tests.controlplane.state.rows import AT, ONE_OF_EACH, ROW_CLASSES, key_of


async def dumped(store: Store) -> list[bytes]:
    return [piece async for piece in store.dump()]


async def everything(store: Store) -> dict[tuple, object]:
    async with store.read() as reader:
        return {(row, *key_of(one)): one for row in ROW_CLASSES for one in await reader.find(row)}


def lines(dump: list[bytes]) -> list[bytes]:
    return gzip.decompress(b"".join(dump)).splitlines(keepends=True)


async def test_a_dump_brings_every_row_to_any_backend(store: Store, other_store: Store, clock: Clock):
    async with store.write() as transaction:
        await transaction.put(*ONE_OF_EACH)
        transaction.raise_generation(70)
        for _ in range(3):
            transaction.log(Topic.AGENT, "a-1")
    async with other_store.write() as transaction:
        await transaction.put(VariableRow(name="GONE", selector="*", value="1"))
    before = await everything(store)
    dump = await dumped(store)
    clock.advance(3600)
    hints: list[int] = []
    other_store.on_commit(hints.append)

    plane = await other_store.load(dump)

    old = before.pop((PlaneRow, 1))
    assert plane == PlaneRow(instance_id=old.instance_id, epoch=2, fleet_revision=5, generation=70)
    assert max(hints) == 5
    after = await everything(other_store)
    assert after.pop((PlaneRow, 1)) == plane
    event = after.pop((EventRow, 4))
    assert event.kind == "plane.restored"
    for words in (clock.now() - timedelta(seconds=3600)).isoformat(), old.instance_id, "1 pipelines", "epoch is now 2":
        assert words in event.message
    assert after.pop((ChangeRow, 4)).topic == Topic.EVENT
    assert after.pop((ChangeRow, 5)).topic == Topic.PLANE
    assert after == before


async def test_a_restore_in_place_gives_no_number_out_twice(store: Store):
    async with store.write() as transaction:
        transaction.log(Topic.AGENT, "a-1")
    dump = await dumped(store)
    async with store.write() as transaction:
        transaction.log(Topic.AGENT, "a-1", "a-2")
        transaction.raise_generation(9)
        transaction.next_epoch()
    plane = await store.load(dump)
    assert (plane.epoch, plane.fleet_revision, plane.generation) == (3, 5, 9)
    again = await store.load(dump)
    assert (again.epoch, again.fleet_revision, again.generation) == (4, 7, 9)


async def test_a_dump_is_of_one_moment(store: Store):
    async with store.write() as transaction:
        await transaction.put(*(VariableRow(name=f"A{n}", selector="*", value="1") for n in range(1200)))
    dump = []
    async for piece in store.dump():
        dump.append(piece)
        async with store.write() as transaction:
            await transaction.put(VariableRow(name=f"Z{len(dump)}", selector="*", value="1"))
            transaction.log(Topic.VARIABLE, "Z")
    header, *rows, end = (json.loads(line) for line in lines(dump))
    assert header["plane"]["fleet_revision"] == 0
    assert len(rows) == 1200
    assert end == {"end": {"variables": 1200}}


async def test_fields_that_a_newer_version_added_to_rows_do_no_harm(sqlite_store: Store):
    async with sqlite_store.write() as transaction:
        await transaction.put(*ONE_OF_EACH)
        transaction.log(Topic.AGENT, "a-1", "a-2")
    before = await everything(sqlite_store)
    newer = []
    for line in map(json.loads, lines(await dumped(sqlite_store))):
        if "row" in line:
            line["row"]["later"] = {"x": [1]}
        newer.append(line)
    await sqlite_store.load([made(*newer)])
    after = await everything(sqlite_store)
    assert {key: after[key] for key in before if key != (PlaneRow, 1)} == {
        key: before[key] for key in before if key != (PlaneRow, 1)
    }


HEADER = {
    "form": "headrace state",
    "version": 1,
    "at": 1_700_000_000_000_000,
    "plane": {"instance_id": "i", "epoch": 1, "fleet_revision": 1, "generation": 1},
}
VARIABLE = {"table": "variables", "row": {"name": "A", "selector": "*", "value": "1"}}


def made(*objects: object) -> bytes:
    return gzip.compress(b"".join(json.dumps(one).encode() + b"\n" for one in objects))


GOOD = made(HEADER, VARIABLE, {"end": {"variables": 1}})
REFUSED = {
    "nothing": (b"", "cut short"),
    "text": (b"hello, world", "no dump"),
    "other gzip": (gzip.compress(b"hello\n"), "no dump"),
    "other json": (made({"kind": "Pipeline"}), "no dump"),
    "deep json": (gzip.compress(b"[" * 100_000 + b"\n"), "no dump"),
    "newer": (made({**HEADER, "version": 2}), "version 2"),
    "no counters": (made({**HEADER, "plane": {}}), "instance_id"),
    "bad time": (made({**HEADER, "at": 1 << 62}), "no time"),
    "no end": (made(HEADER, VARIABLE), "cut short"),
    "cut gzip": (GOOD[:-9], "cut short"),
    "bad checksum": (GOOD[:-8] + b"\0" * 8, "damaged"),
    "trailing bytes": (GOOD + b"more", "something follows"),
    "trailing line": (made(HEADER, {"end": {}}, VARIABLE), "something follows"),
    "wrong count": (made(HEADER, VARIABLE, {"end": {"variables": 2}}), "holds"),
    "no such table": (made(HEADER, {"table": "lakes", "row": {}}), "'lakes'"),
    "counters as a row": (made(HEADER, {"table": "plane", "row": HEADER["plane"]}), "'plane'"),
    "no row": (made(HEADER, {"table": "variables"}), "line 2"),
    "wrong type": (made(HEADER, {"table": "variables", "row": {**VARIABLE["row"], "name": 1}}), "line 2"),
    "NUL": (
        made(HEADER, {"table": "variables", "row": {**VARIABLE["row"], "name": "\0"}}, {"end": {"variables": 1}}),
        "NUL",
    ),
}


@pytest.mark.parametrize(("dump", "why"), REFUSED.values(), ids=REFUSED.keys())
async def test_what_is_no_whole_dump_is_refused_and_nothing_is_changed(store: Store, dump: bytes, why: str):
    async with store.write() as transaction:
        await transaction.put(VariableRow(name="KEPT", selector="*", value="1"))
    before = await everything(store)
    with pytest.raises(InvalidError, match=why):
        await store.load([dump[at : at + 7] for at in range(0, len(dump), 7)] if len(dump) < 10_000 else [dump])
    assert await everything(store) == before


@given(place=st.integers(0, len(GOOD) - 1), byte=st.integers(1, 255), cut=st.booleans())
@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
async def test_a_damaged_dump_is_refused(sqlite_store: Store, place: int, byte: int, cut: bool):
    damaged = GOOD[:place] if cut else GOOD[:place] + bytes([GOOD[place] ^ byte]) + GOOD[place + 1 :]
    if not cut and 4 <= place <= 9:
        return  # gzip's own time, flags and system: no matter
    before = await everything(sqlite_store)
    with pytest.raises(InvalidError):
        await sqlite_store.load([damaged])
    assert await everything(sqlite_store) == before


async def test_a_bomb_does_not_unfold_in_memory(sqlite_store: Store, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("controlplane.state.dump.LINE_BYTES", 4 << 20)
    bomb = gzip.compress(json.dumps(HEADER).encode() + b"\n" + b" " * (64 << 20))
    tracemalloc.start()
    try:
        with pytest.raises(InvalidError, match="longer than 4 MiB"):
            await sqlite_store.load([bomb])
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 20 << 20


async def test_memory_holds_a_page_of_a_dump_and_not_the_state(sqlite_store: Store):
    size, count = 1 << 20, 24
    async with sqlite_store.write() as transaction:
        for number in range(count):
            data = random.Random(number).randbytes(size)
            await transaction.put(BlobRow(sha256=f"{number:02}", data=data, at=AT))
            await transaction.flush()
    with tempfile.TemporaryFile() as file:
        tracemalloc.start()
        try:
            async for piece in sqlite_store.dump():
                file.write(piece)
            file.seek(0)
            await sqlite_store.load(iter(lambda: file.read(1 << 16), b""))
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert peak < 20 * size
    assert sum(isinstance(row, BlobRow) for row in (await everything(sqlite_store)).values()) == count
