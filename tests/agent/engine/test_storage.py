"""Chunks on disk."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.engine.record import Batch
from agent.engine.storage import ChunkStore

BATCH = Batch("tag", [1, 2], [{"a": 1}, {"b": "é"}], None, 10)


def test_a_chunk_is_read_back_with_who_has_it(tmp_path: Path) -> None:
    file = ChunkStore(tmp_path).file("tail.0", 7)
    file.create(BATCH)
    file.append(Batch("tag", [3], [{"c": None}], [{"m": 1}], 5))
    file.mark_done("file.0")
    batch, done = file.load()
    assert batch == Batch("tag", [1, 2, 3], [{"a": 1}, {"b": "é"}, {"c": None}], [{}, {}, {"m": 1}], 15)
    assert done == {"file.0"}


def test_the_backlog_is_in_the_order_in_which_it_was_made_whatever_the_input(tmp_path: Path) -> None:
    store = ChunkStore(tmp_path)
    for number, source in ((9, "a"), (10, "b"), (8, "c")):
        store.file(source, number).create(BATCH)
    (tmp_path / "a" / "other.flb").write_text("of somebody else")
    assert [int(file.path.stem) for file in store.backlog()] == [8, 9, 10]


@given(st.data())
def test_a_file_cut_anywhere_keeps_every_whole_batch(data: st.DataObject) -> None:
    from tempfile import TemporaryDirectory

    with TemporaryDirectory() as folder:
        file = ChunkStore(Path(folder)).file("x", 1)
        file.create(BATCH)
        whole = [file.path.stat().st_size]
        for number in range(3):
            file.append(Batch("tag", [number], [{"n": number}], None, 1))
            whole.append(file.path.stat().st_size)
        cut = data.draw(st.integers(whole[0], whole[-1]))
        with open(file.path, "r+b") as stream:
            stream.truncate(cut)
        assert len(file.load()[0]) == len(BATCH) + sum(size <= cut for size in whole[1:])


def test_a_source_cannot_leave_the_folder(tmp_path: Path) -> None:
    for source in ("../x", "a/b", "..", "", "\0"):
        assert ChunkStore(tmp_path).file(source, 1).path.parent.parent == tmp_path


def test_what_is_no_chunk_is_a_value_error(tmp_path: Path) -> None:
    file = ChunkStore(tmp_path).file("x", 1)
    file.path.parent.mkdir()
    for text in (b"", b"no json\n", b"half a line"):
        file.path.write_bytes(text)
        with pytest.raises(ValueError, match=r"."):
            file.load()
