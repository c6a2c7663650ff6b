"""Following files: lines, rotation, truncation, restarts, limits."""

import asyncio
import gzip
import os
import shutil
import sqlite3
import time
from pathlib import Path
from typing import IO, Any

import pytest

from agent.engine.config import InvalidProperty
from agent.engine.plugin import PluginError
from agent.engine.registry import inputs
from tests.agent.engine.conftest import NOW, PluginKit, Sink, running_input
from tests.processes import eventually


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(params=["inotify", "polling"])
def watching(request: pytest.FixtureRequest) -> dict[str, Any]:
    """Both ways to notice a change."""
    return {"inotify_watcher": request.param == "inotify"}


def append(path: str, *lines: str) -> None:
    with open(path, "a") as file:
        file.writelines(line + "\n" for line in lines)


def _writer(path: str) -> IO[str]:
    """A program that goes on writing to a file after it was renamed."""
    return open(path, "a")


def logs(sink: Sink) -> list[str]:
    return [record["log"] for record in sink.records]


async def test_lines_are_read_from_the_head_or_from_the_end(plugins: PluginKit, watching: dict[str, Any]) -> None:
    append("a.log", "old")
    for from_head, expected in ((True, ["old", "new"]), (False, ["new"])):
        sink = Sink()
        shutil.copy("a.log", f"{from_head}.log")
        plugin = plugins.make(inputs, "tail", path=f"{from_head}.log", read_from_head=from_head, **watching)
        async with running_input(plugin, sink):
            await eventually(lambda p=plugin: p._files)
            append(f"{from_head}.log", "new")
            await sink.take(len(expected))
        assert logs(sink) == expected


async def test_a_line_is_taken_when_it_is_whole(plugins: PluginKit, sink: Sink, watching: dict[str, Any]) -> None:
    Path("a.log").write_text("half")
    plugin = plugins.make(inputs, "tail", path="a.log", read_from_head=True, **watching)
    async with running_input(plugin, sink):
        await eventually(lambda: plugin._files)
        append("a.log", " and half", "next")
        await sink.take(2)
    assert logs(sink) == ["half and half", "next"]


async def test_new_files_are_found_and_read_from_their_head(
    plugins: PluginKit, sink: Sink, watching: dict[str, Any]
) -> None:
    plugin = plugins.make(inputs, "tail", path="*.log", exclude_path="no*.log", refresh_interval=1, **watching)
    async with running_input(plugin, sink):
        await eventually(lambda: plugin._looks)
        append("a.log", "one")
        append("no.log", "never")
        await sink.take(1)
        append("b.log", "two")
        await sink.take(2)
    assert logs(sink) == ["one", "two"]


async def test_rotation_by_rename_loses_and_doubles_nothing(
    plugins: PluginKit, sink: Sink, watching: dict[str, Any]
) -> None:
    append("a.log", "1")
    plugin = plugins.make(inputs, "tail", path="a.log", read_from_head=True, rotate_wait=1, db="off.db", **watching)
    async with running_input(plugin, sink):
        await sink.take(1)
        writer = _writer("a.log")
        os.rename("a.log", "a.log.1")
        append("a.log", "3")
        writer.write("2\n")
        writer.close()
        await sink.take(3)
        for ack in sink.acks:
            ack()
        await eventually(lambda: len(plugin._files) == 1, what="the rotated file is let go")
        append("a.log", "4")
        await sink.take(4)
        sink.acks[-1]()
    assert sorted(logs(sink)) == ["1", "2", "3", "4"]
    database = sqlite3.connect("off.db")
    assert database.execute("SELECT name, offset FROM in_tail_files").fetchall() == [("a.log", 4)]
    database.close()


async def test_a_rotated_file_that_the_pattern_matches_too_is_not_read_again(plugins: PluginKit, sink: Sink) -> None:
    append("a.log", "1")
    plugin = plugins.make(inputs, "tail", path="a.log*", read_from_head=True, refresh_interval=1, rotate_wait=1)
    async with running_input(plugin, sink):
        await sink.take(1)
        os.rename("a.log", "a.log.1")
        append("a.log", "2")
        await sink.take(2)
        inode = os.stat("a.log.1").st_ino
        await eventually(lambda: plugin._files[inode].name == "a.log.1", what="the new name is known")
        append("a.log.1", "3")
        await sink.take(3)
        looks = plugin._looks
        await eventually(lambda: plugin._looks > looks + 1, what="it has looked for new files again")
    assert logs(sink) == ["1", "2", "3"]


async def test_rotation_by_copytruncate_starts_over(plugins: PluginKit, sink: Sink, watching: dict[str, Any]) -> None:
    append("a.log", "1", "2")
    plugin = plugins.make(inputs, "tail", path="a.log", read_from_head=True, **watching)
    async with running_input(plugin, sink):
        await sink.take(2)
        shutil.copy("a.log", "a.log.1")
        os.truncate("a.log", 0)
        await eventually(lambda: not any(file.track.read for file in plugin._files.values()), what="noticed")
        append("a.log", "3")
        await sink.take(3)
    assert logs(sink) == ["1", "2", "3"]


async def test_zeros_that_copytruncate_leaves_are_skipped(plugins: PluginKit, sink: Sink) -> None:
    Path("a.log").write_bytes(b"\0\0\0\0one\n")
    async with running_input(plugins.make(inputs, "tail", path="a.log", read_from_head=True, offset_key="o"), sink):
        await sink.take(1)
    assert sink.records == [{"o": 4, "log": "one"}]


async def test_a_restart_goes_on_after_what_was_delivered(plugins: PluginKit) -> None:
    append("a.log", "1", "2")
    options: dict[str, Any] = {"path": "a.log", "read_from_head": True, "db": "off.db"}
    first, second, third = Sink(), Sink(), Sink()
    async with running_input(plugins.make(inputs, "tail", **options), first):
        await first.take(2)
    async with running_input(plugins.make(inputs, "tail", **options), second):
        assert [record["log"] for record in await second.take(2)] == ["1", "2"], "nothing was delivered yet"
        for ack in second.acks:
            ack()
    append("a.log", "3")
    async with running_input(plugins.make(inputs, "tail", **options), third):
        await third.take(1)
    assert logs(third) == ["3"]


async def test_a_file_rotated_while_nobody_looked_is_read_to_its_end(plugins: PluginKit) -> None:
    options: dict[str, Any] = {"path": "a.log", "read_from_head": True, "db": "off.db", "rotate_wait": 0}
    append("a.log", "1")
    first, second = Sink(), Sink()
    async with running_input(plugins.make(inputs, "tail", **options), first):
        await first.take(1)
        first.acks[0]()
    append("a.log", "2")
    os.rename("a.log", "a.log.1")
    append("a.log", "3")
    plugin = plugins.make(inputs, "tail", **options)
    async with running_input(plugin, second):
        await second.take(2)
        for ack in second.acks:
            ack()
        await eventually(lambda: len(plugin._files) == 1, what="the rotated file is let go")
    assert sorted(logs(second)) == ["2", "3"]


async def test_a_successor_goes_on_where_its_predecessor_read_to(plugins: PluginKit) -> None:
    append("a.log", "1")
    before, after = Sink(), Sink()
    old = plugins.make(inputs, "tail", path="a.log", read_from_head=True)
    new = plugins.make(inputs, "tail", path="a.log", read_from_head=True, key="line")
    async with running_input(old, before):
        await before.take(1)
        await new.open()
    append("a.log", "2")
    async with running_input(new, after):
        await after.take(1)
        await new.close()
    assert after.records == [{"line": "2"}]


LONG = "x" * 200


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"skip_long_lines": True}, ["before", "after", "last"]),
        ({"truncate_long_lines": True}, ["before", "x" * 99, "after", "x" * 99, "last"]),
        ({}, ["before"]),
    ],
)
async def test_a_line_that_is_too_long_is_skipped_cut_or_ends_the_file(
    plugins: PluginKit, sink: Sink, options: dict[str, Any], expected: list[str]
) -> None:
    append("a.log", "before", LONG, "after", LONG, "last")
    plugin = plugins.make(inputs, "tail", path="a.log", read_from_head=True, buffer_max_size=100, **options)
    async with running_input(plugin, sink):
        await sink.take(len(expected))
        if not options:
            await eventually(lambda: not plugin._files, what="the file is given up")
    assert logs(sink) == expected


async def test_a_long_line_is_skipped_before_it_has_an_end(plugins: PluginKit, sink: Sink) -> None:
    options: dict[str, Any] = {"buffer_max_size": 100, "skip_long_lines": True, "read_from_head": True}
    Path("a.log").write_text("x" * 600_000)
    plugin = plugins.make(inputs, "tail", path="a.log", **options)
    async with running_input(plugin, sink):
        await eventually(lambda: any(file.track.read >= 600_000 for file in plugin._files.values()))
        append("a.log", "end of the long one", "short")
        await sink.take(1)
    assert logs(sink) == ["short"]


async def test_empty_lines_and_line_ends(plugins: PluginKit) -> None:
    Path("a.log").write_bytes(b"a\r\n\nb\n\r\nc\n")
    for skip, expected in ((True, ["a", "b", "c"]), (False, ["a", "", "b", "\r", "c"])):
        sink = Sink()
        plugin = plugins.make(inputs, "tail", path="a.log", read_from_head=True, skip_empty_lines=skip)
        async with running_input(plugin, sink):
            await sink.take(len(expected))
        assert logs(sink) == expected


async def test_path_and_offset_come_before_a_plain_line_and_after_a_parsed_one(plugins: PluginKit) -> None:
    append("a.log", '{"a":1}', "text")
    sink = Sink()
    options = {"path_key": "file", "offset_key": "at", "parser": "j"}
    plugin = plugins.make(
        inputs, "tail", parsers="- {name: j, format: json}", path="a.log", read_from_head=True, **options
    )
    async with running_input(plugin, sink):
        await sink.take(2)
    assert [list(record.items()) for record in sink.records] == [
        [("a", 1), ("file", "a.log"), ("at", 0)],
        [("file", "a.log"), ("at", 8), ("log", "text")],
    ]
    assert sink.batches[0].times == [NOW, NOW]


async def test_bytes_that_are_no_text_are_replaced(plugins: PluginKit, sink: Sink) -> None:
    Path("a.log").write_bytes(b"caf\xe9\n" + gzip.compress(b"x").replace(b"\n", b"") + b"\n")
    async with running_input(plugins.make(inputs, "tail", path="a.log", read_from_head=True), sink):
        await sink.take(2)
    assert logs(sink)[0] == "caf\ufffd"


async def test_old_files_are_ignored(plugins: PluginKit, sink: Sink) -> None:
    append("old.log", "old")
    os.utime("old.log", (time.time() - 3600, time.time() - 3600))
    append("new.log", "new")
    plugin = plugins.make(inputs, "tail", path="*.log", read_from_head=True, ignore_older="10m")
    async with running_input(plugin, sink):
        await sink.take(1)
        assert [file.name for file in plugin._files.values()] == ["new.log"]


async def test_at_the_end_of_all_files_the_engine_is_told_to_stop(plugins: PluginKit, sink: Sink) -> None:
    append("a.log", "1")
    append("b.log", "2")
    plugin = plugins.make(inputs, "tail", path="*.log", read_from_head=True, exit_on_eof=True)
    async with running_input(plugin, sink) as task:
        await asyncio.wait_for(task, 10)
    assert sorted(logs(sink)) == ["1", "2"]
    assert plugins.stopped == ["tail.0 has read all files to their end"]


async def test_a_deleted_file_is_let_go_after_its_last_line(plugins: PluginKit, sink: Sink) -> None:
    append("a.log", "1")
    plugin = plugins.make(inputs, "tail", path="a.log", read_from_head=True, rotate_wait=0)
    async with running_input(plugin, sink):
        await sink.take(1)
        os.unlink("a.log")
        await eventually(lambda: not plugin._files, what="the deleted file is let go")
        append("a.log", "2")
        await sink.take(2)


async def test_without_a_database_nothing_is_said_to_be_readable_again(plugins: PluginKit, sink: Sink) -> None:
    append("a.log", "1")
    async with running_input(plugins.make(inputs, "tail", path="a.log", read_from_head=True), sink):
        await sink.take(1)
    assert sink.acks == [None]


async def test_a_file_that_may_not_be_read_is_left_out_with_a_word(
    plugins: PluginKit, sink: Sink, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    append("a.log", "1")
    append("b.log", "2")
    real = os.open

    def no_a(path: str, *args: Any, **kwargs: Any) -> int:
        if path == "a.log":
            raise PermissionError(13, "Permission denied")
        return real(path, *args, **kwargs)

    monkeypatch.setattr(os, "open", no_a)
    async with running_input(plugins.make(inputs, "tail", path="*.log", read_from_head=True), sink):
        await sink.take(1)
    assert logs(sink) == ["2"]
    assert "cannot open a.log: Permission denied" in caplog.text


@pytest.mark.parametrize(
    ("properties", "why"),
    [
        ({"path": ""}, "no file is named"),
        ({"path": "a", "refresh_interval": 0}, "expected more than 0 seconds"),
        ({"path": "a", "tag_regex": "("}, "not a regular expression"),
        ({"path": "a", "parser": "gone"}, "parser 'gone' is not defined"),
    ],
)
def test_a_faulty_configuration_is_refused(plugins: PluginKit, properties: dict[str, Any], why: str) -> None:
    with pytest.raises(InvalidProperty) as refused:
        plugins.make(inputs, "tail", **properties)
    assert why in str(refused.value)


async def test_a_database_that_cannot_be_opened_fails_the_opening_and_holds_nothing(plugins: PluginKit) -> None:
    plugin = plugins.make(inputs, "tail", path="a.log", db="missing/off.db")
    with pytest.raises(PluginError):
        await plugin.open()
    await plugin.close()
    assert len(plugins.resources) == 0


TRACE = ["Traceback (most recent call last):", '  File "x.py", line 1', "    f()", "ValueError: no"]


async def test_a_message_over_several_lines_is_one_record(plugins: PluginKit, sink: Sink) -> None:
    append("a.log", "start", *TRACE, "end")
    options: dict[str, Any] = {"multiline__parser": "java, python", "read_from_head": True, "offset_key": "at"}
    async with running_input(plugins.make(inputs, "tail", path="a.log", **options), sink):
        await sink.take(3)
    assert logs(sink) == ["start\n", "\n".join(TRACE) + "\n", "end\n"]
    assert [record["at"] for record in sink.records] == [0, 6, 6 + len("\n".join(TRACE)) + 1]


async def test_a_message_that_nothing_follows_is_complete_after_its_time_out(plugins: PluginKit, sink: Sink) -> None:
    parsers = """
        multiline_parsers:
          - name: block
            type: regex
            flush_timeout: 100
            rules:
              - {state: start_state, regex: '^\\[', next_state: more}
              - {state: more, regex: '^ ', next_state: more}
    """
    append("a.log", "[1", " 2")
    plugin = plugins.make(inputs, "tail", parsers=parsers, path="a.log", read_from_head=True, multiline__parser="block")
    async with running_input(plugin, sink):
        await sink.take(1)
    assert logs(sink) == ["[1\n 2\n"]


async def test_lines_that_wait_for_the_rest_of_their_message_are_read_again_after_a_restart(plugins: PluginKit) -> None:
    options: dict[str, Any] = {"path": "a.log", "read_from_head": True, "db": "off.db", "multiline__parser": "python"}
    append("a.log", "start", *TRACE[:2])
    first, second = Sink(), Sink()
    plugin = plugins.make(inputs, "tail", **options)
    async with running_input(plugin, first):
        await first.take(1)
        for ack in first.acks:
            ack()
        await eventually(lambda: any(file.messages.pending_mark for file in plugin._files.values()))
    append("a.log", *TRACE[2:])
    async with running_input(plugins.make(inputs, "tail", **options), second):
        await second.take(1)
    assert logs(second) == ["\n".join(TRACE) + "\n"]


async def test_a_successor_reads_again_what_waits_for_the_rest_of_its_message(plugins: PluginKit) -> None:
    options: dict[str, Any] = {"path": "a.log", "read_from_head": True, "multiline__parser": "python"}
    append("a.log", "start", *TRACE[:2])
    before, after = Sink(), Sink()
    old, new = plugins.make(inputs, "tail", **options), plugins.make(inputs, "tail", **options)
    async with running_input(old, before):
        await before.take(1)
        await new.open()
        await eventually(lambda: any(file.messages.pending_mark for file in old._files.values()))
    append("a.log", *TRACE[2:])
    async with running_input(new, after):
        await after.take(1)
        await new.close()
    assert logs(after) == ["\n".join(TRACE) + "\n"]
