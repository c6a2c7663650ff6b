"""The log of a child: appended, cut, and read from its end."""

from __future__ import annotations

import os
from pathlib import Path

from agent.runtimes import child_log


def test_the_writer_goes_on_after_a_cut(tmp_path: Path) -> None:
    path = tmp_path / "engine.log"
    descriptor = child_log.open_for(path)
    try:
        os.write(descriptor, b"one\ntwo\n")
        child_log.older(path).touch(mode=0o644)  # as an earlier version left it
        child_log.trim(path, 100)
        assert child_log.size(path) == 8
        child_log.trim(path, 4)
        assert child_log.size(path) == 0
        os.write(descriptor, b"three\n")
        assert path.read_bytes() == b"three\n"
        assert child_log.older(path).read_bytes() == b"one\ntwo\n"
        assert {file.stat().st_mode & 0o777 for file in (path, child_log.older(path))} == {0o600}
    finally:
        os.close(descriptor)


def test_the_tail_reaches_into_the_older_file(tmp_path: Path) -> None:
    path = tmp_path / "engine.log"
    child_log.older(path).write_text("one\ntwo\n")
    path.write_text("three\nfour\n")
    assert child_log.tail(path, 1) == "four\n"
    assert child_log.tail(path, 3) == "two\nthree\nfour\n"
    assert child_log.tail(path, 100) == "one\ntwo\nthree\nfour\n"
    assert child_log.tail(path, 0) == ""


def test_what_was_written_since_counts_from_the_start_after_a_cut(tmp_path: Path) -> None:
    path = tmp_path / "engine.log"
    path.write_text("old\nnew\n")
    assert child_log.since(path, 4) == "new\n"
    path.write_text("x\n")
    assert child_log.since(path, 4) == "x\n"


def test_of_a_flood_only_the_end_is_read(tmp_path: Path) -> None:
    path = tmp_path / "engine.log"
    path.write_bytes(b"x" * (2 * child_log.MAX_READ) + b"\nlast\n")
    assert len(child_log.since(path, 0)) == child_log.MAX_READ
    assert child_log.tail(path, 1) == "last\n"


def test_a_log_that_is_not_there_is_empty(tmp_path: Path) -> None:
    path = tmp_path / "engine.log"
    child_log.trim(path, 0)
    assert (child_log.size(path), child_log.since(path, 5), child_log.tail(path, 5)) == (0, "", "")
    path.write_bytes(b"\xff\xfe not text\n")
    assert "not text" in child_log.tail(path, 5)
