"""How far files were read and delivered, and the database that both engines share."""

import asyncio
import sqlite3
from pathlib import Path
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.engine.inputs.tail.positions import Positions, Track
from agent.engine.plugin import PluginError


def rows(path: Path) -> list[tuple[object, ...]]:
    database = sqlite3.connect(path)
    try:
        return database.execute("SELECT name, offset, inode, rotated FROM in_tail_files ORDER BY id").fetchall()
    finally:
        database.close()


@given(st.lists(st.integers(1, 9), min_size=1, max_size=12), st.randoms(use_true_random=False))
def test_the_committed_position_is_the_end_of_the_unbroken_run_of_confirmed_pieces(
    sizes: list[int], rng: Random
) -> None:
    track = Track(1, 1, "f", 0, lambda _track: None)
    ends = [sum(sizes[: at + 1]) for at in range(len(sizes))]
    confirms = [track.advance(end) for end in ends]
    order = list(range(len(sizes)))
    rng.shuffle(order)
    done: set[int] = set()
    for at in order:
        confirms[at]()
        done.add(at)
        run = next((i for i in range(len(sizes)) if i not in done), len(sizes))
        assert track.committed == (ends[run - 1] if run else 0)
    assert track.settled
    assert track.read == track.committed == ends[-1]


def test_after_a_truncation_older_confirmations_count_no_more() -> None:
    track = Track(1, 1, "f", 0, lambda _track: None)
    confirm = track.advance(100)
    track.restart()
    later = track.advance(10)
    confirm()
    assert track.committed == 0
    later()
    assert track.committed == 10


async def test_the_database_has_fluent_bits_schema_and_follows_the_confirmations(tmp_path: Path) -> None:
    path = tmp_path / "off.db"
    positions = Positions(path)
    track = positions.start(42, "a.log", 5)
    assert rows(path) == [("a.log", 5, 42, 0)]
    track.advance(10)()
    track.advance(20)
    await asyncio.sleep(0.01)
    assert rows(path) == [("a.log", 10, 42, 0)]
    positions.rotated(track, "a.log.1")
    assert rows(path) == [("a.log.1", 10, 42, 1)]
    positions.forget(track)
    assert rows(path) == []
    positions.close()


async def test_closing_writes_what_is_confirmed(tmp_path: Path) -> None:
    path = tmp_path / "off.db"
    positions = Positions(path)
    positions.start(42, "a.log", 0).advance(7)()
    positions.close()
    assert rows(path) == [("a.log", 7, 42, 0)]


async def test_a_database_of_fluent_bit_is_taken_over_with_its_newer_columns(tmp_path: Path) -> None:
    path = tmp_path / "off.db"
    database = sqlite3.connect(path)
    database.execute(
        "CREATE TABLE in_tail_files (id INTEGER PRIMARY KEY, name TEXT NOT NULL, offset INTEGER, inode INTEGER,"
        " created INTEGER, rotated INTEGER DEFAULT 0, offset_marker INTEGER DEFAULT 0,"
        " offset_marker_size INTEGER DEFAULT 0)"
    )
    database.execute("INSERT INTO in_tail_files VALUES (3, 'a.log', 100, 42, 1, 0, 777, 64)")
    database.commit()
    database.close()
    positions = Positions(path)
    track = positions.known(42, "a.log")
    assert track is not None
    assert track.read == 100
    track.advance(120)()
    positions.close()
    database = sqlite3.connect(path)
    # A checksum of the bytes before 100 would make Fluent Bit think that the file was replaced.
    assert database.execute("SELECT offset, offset_marker_size FROM in_tail_files").fetchall() == [(120, 0)]
    database.close()


async def test_a_file_is_known_by_inode_or_also_by_name(tmp_path: Path) -> None:
    first = Positions(tmp_path / "off.db")
    first.start(42, "a.log", 5)
    first.close()
    by_inode, by_name = Positions(tmp_path / "off.db"), Positions(tmp_path / "off.db", by_name=True)
    known = by_inode.known(42, "b.log")
    assert known is not None
    assert known.read == 5
    assert by_name.known(42, "b.log") is None
    assert by_name.known(42, "a.log") is not None
    by_inode.close()
    by_name.close()


async def test_a_track_outlives_its_reader_within_the_process() -> None:
    positions = Positions(None)
    positions.start(42, "a.log", 0).advance(30)
    again = positions.known(42, "a.log")
    assert again is not None
    assert (again.read, again.committed) == (30, 0)
    assert not positions.durable
    positions.close()


@pytest.mark.parametrize("content", [b"this is no database" * 100, None])
def test_a_database_that_cannot_be_opened_is_refused(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / ("off.db" if content else "missing/off.db")
    if content:
        path.write_bytes(content)
    with pytest.raises(PluginError, match=r"offset database .* cannot be opened"):
        Positions(path)


async def test_a_locked_database_is_written_later(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "off.db"
    positions = Positions(path)
    track = positions.start(1, "a", 0)
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    track.advance(9)()
    await asyncio.sleep(0.01)
    assert "cannot be written" in caplog.text
    other.execute("ROLLBACK")
    other.close()
    positions.close()
    assert rows(path) == [("a", 9, 1, 0)]
