"""The journal as a source: the export format by table, a stand-in for journalctl, and a real journal."""

from __future__ import annotations

import asyncio
import itertools
import os
import sqlite3
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.engine.config import InvalidProperty
from agent.engine.inputs.systemd import plugin
from agent.engine.inputs.systemd.export import LONGEST, ExportReader
from agent.engine.plugin import PluginError
from agent.engine.registry import inputs
from tests.agent.engine.conftest import EngineKit, PluginKit, Sink, running_input
from tests.processes import eventually, processes_in
from tests.servers import Journal

ENTRY = (
    b"__CURSOR=s=1;i=%d\n__REALTIME_TIMESTAMP=%d\n__MONOTONIC_TIMESTAMP=5\n_SYSTEMD_UNIT=%s\nMESSAGE=line %d = x\n"
    b"RAW\n\x06\0\0\0\0\0\0\0\na\xff=b\n\nX=1\nX=2\n\n"
)


def entry(number: int, unit: str = "a.service") -> bytes:
    return ENTRY % (number, number, unit.encode(), number)


def test_an_entry_has_its_cursor_time_and_fields_in_order() -> None:
    (only,) = ExportReader().feed(entry(7))
    assert (only.cursor, only.time) == ("s=1;i=7", 7000)
    assert only.fields == [
        ("_SYSTEMD_UNIT", "a.service"),
        ("MESSAGE", "line 7 = x"),
        ("RAW", "\na\ufffd=b\n"),
        ("X", "1"),
        ("X", "2"),
    ]


@given(st.lists(st.integers(0, 400), max_size=8))
def test_entries_are_the_same_however_their_bytes_come(cuts: list[int]) -> None:
    data = b"".join(map(entry, range(3)))
    reader, found = ExportReader(), []
    places = [0, *sorted(cuts), len(data)]
    for start, stop in itertools.pairwise(places):
        found += reader.feed(data[start:stop])
    assert found == ExportReader().feed(data)
    assert len(found) == 3


@given(
    st.lists(
        st.sampled_from([b"A=1\n", b"\n", b"B\n", b"\x02\0\0\0\0\0\0\0", b"__REALTIME_TIMESTAMP=x\n", b"xy\n", b"="])
    )
)
def test_nonsense_gives_entries_or_none(parts: list[bytes]) -> None:
    for found in ExportReader().feed(b"".join(parts)):
        assert found.fields


@pytest.mark.parametrize("size", [LONGEST, LONGEST + 1, 3 * LONGEST])
@pytest.mark.parametrize("form", ["line", "length"])
@pytest.mark.parametrize("piece", [1000, 1 << 20])
def test_a_long_value_is_cut_and_what_follows_is_read(size: int, form: str, piece: int) -> None:
    value = b"MESSAGE=" if form == "line" else b"MESSAGE\n" + size.to_bytes(8, "little")
    data = value + b"x" * size + b"\nB=1\n\n" + entry(2)
    reader, found = ExportReader(), []
    for start in range(0, len(data), piece):
        found += reader.feed(data[start : start + piece])
    assert [item.fields[:2] for item in found] == [
        [("MESSAGE", "x" * LONGEST), ("B", "1")],
        [("_SYSTEMD_UNIT", "a.service"), ("MESSAGE", "line 2 = x")],
    ]


@pytest.mark.parametrize(
    ("options", "record"),
    [
        ({}, {"_A": "1", "A": "2", "B": ["3", "4", "5"]}),
        ({"lowercase": True}, {"_a": "1", "a": "2", "b": ["3", "4", "5"]}),
        ({"strip_underscores": True}, {"A": ["1", "2"], "B": ["3", "4", "5"]}),
        ({"max_fields": 3}, {"_A": "1", "A": "2", "B": "3"}),
    ],
    ids=["as they are", "lower case", "no underscores", "the first fields"],
)
def test_an_entry_becomes_a_record(options: dict[str, Any], record: dict[str, Any]) -> None:
    (only,) = ExportReader().feed(b"_A=1\nA=2\nB=3\nB=4\nB=5\n\n")
    settings = {"max_fields": 8000, "lowercase": False, "strip_underscores": False} | options
    assert only.record(**settings) == record


class StandIn:
    """A journalctl that says what it is told to and then waits, or ends; `calls` are how it was called."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir()
        self.say(b"")

    def say(self, said: bytes, *, ends: bool = False) -> None:
        """From the next call on."""
        number = len(list(self._folder.iterdir()))
        (self._folder / f"said{number}").write_bytes(said)
        script = self._folder / "new"
        then = "echo broken >&2; exit 3" if ends else "exec sleep 600"
        script.write_text(f'#!/bin/sh\necho "$*" >> {self._folder}/calls\ncat {self._folder}/said{number}\n{then}\n')
        script.chmod(0o755)
        script.replace(self._folder / "journalctl")

    @property
    def calls(self) -> list[str]:
        path = self._folder / "calls"
        return path.read_text().splitlines() if path.exists() else []


@pytest.fixture
def stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StandIn:
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    monkeypatch.setattr(plugin, "PAUSES", (0.01, 0.02))
    return StandIn(tmp_path / "bin")


def cursor(database: Path) -> str | None:
    with sqlite3.connect(database) as connection:
        row = connection.execute("SELECT cursor FROM in_systemd_cursor").fetchone()
    connection.close()
    return row[0] if row else None


async def test_the_cursor_is_kept_when_an_entry_and_all_before_it_are_delivered(
    plugins: PluginKit, sink: Sink, stand_in: StandIn, tmp_path: Path
) -> None:
    stand_in.say(b"".join(map(entry, range(1, 4))))
    database = tmp_path / "journal.db"
    async with running_input(plugins.make(inputs, "systemd", db=str(database), max_entries=1), sink):
        await sink.take(3)
        sink.acks[1]()
        await asyncio.sleep(0)
        assert cursor(database) is None
        sink.acks[0]()
        await eventually(lambda: cursor(database) == "s=1;i=2")
    assert stand_in.calls == ["--output=export --no-pager --follow --no-tail --"]
    assert [batch.times for batch in sink.batches] == [[1000], [2000], [3000]]

    stand_in.say(entry(2) + entry(3))
    again = Sink()
    async with running_input(plugins.make(inputs, "systemd", db=str(database)), again):
        assert [record["MESSAGE"] for record in await again.take(1)] == ["line 3 = x"]
    assert stand_in.calls[1:] == ["--output=export --no-pager --follow --no-tail --cursor=s=1;i=2 --"]


async def test_a_database_of_fluent_bit_that_has_read_nothing_means_the_beginning(
    plugins: PluginKit, sink: Sink, stand_in: StandIn, tmp_path: Path
) -> None:
    database = tmp_path / "journal.db"
    with sqlite3.connect(database) as connection:
        connection.execute("CREATE TABLE in_systemd_cursor (cursor TEXT NOT NULL, updated INTEGER)")
        connection.execute("INSERT INTO in_systemd_cursor VALUES ('(null)', 1)")
    connection.close()
    stand_in.say(entry(1))
    async with running_input(plugins.make(inputs, "systemd", db=str(database)), sink):
        await sink.take(1)
        sink.acks[0]()
        await eventually(lambda: cursor(database) == "s=1;i=1")
    assert "--cursor" not in stand_in.calls[0]


async def test_a_journalctl_that_ends_is_started_again_where_it_was(
    plugins: PluginKit, sink: Sink, stand_in: StandIn, caplog: pytest.LogCaptureFixture
) -> None:
    stand_in.say(entry(1), ends=True)
    async with running_input(plugins.make(inputs, "systemd"), sink):
        await sink.take(1)
        await eventually(lambda: len(stand_in.calls) > 1)
        stand_in.say(entry(1) + entry(2))
        await sink.take(2)
    assert [record["MESSAGE"] for record in sink.records] == ["line 1 = x", "line 2 = x"]
    assert stand_in.calls[1].endswith("--cursor=s=1;i=1 --")
    assert "journalctl: broken" in caplog.text
    assert "journalctl ended with status 3; it is started again in 0.01 seconds" in caplog.text


async def test_reading_from_the_tail_asks_for_the_last_entry_and_begins_after_it(
    plugins: PluginKit, sink: Sink, stand_in: StandIn
) -> None:
    stand_in.say(entry(5), ends=True)
    async with running_input(plugins.make(inputs, "systemd", read_from_tail=True), sink):
        await eventually(lambda: len(stand_in.calls) > 1)
        stand_in.say(entry(5) + entry(6))
        assert [record["MESSAGE"] for record in await sink.take(1)] == ["line 6 = x"]
    assert stand_in.calls[0] == "--output=export --no-pager --lines=1 --quiet --"
    assert stand_in.calls[1].endswith("--follow --no-tail --cursor=s=1;i=5 --")


@pytest.mark.parametrize(
    ("kind", "words", "messages"),
    [("or", "X=1 + X=3", ["a", "b", "c"]), ("and", "X=1 X=3", ["c"])],
)
async def test_filters_are_given_to_journalctl_and_all_must_match_where_they_must(
    plugins: PluginKit, sink: Sink, stand_in: StandIn, kind: str, words: str, messages: list[str]
) -> None:
    said = [b"__CURSOR=s=1;i=1\nMESSAGE=a\nX=1\n\n", b"__CURSOR=s=1;i=2\nMESSAGE=b\nX=3\n\n"]
    stand_in.say(b"".join(said) + b"__CURSOR=s=1;i=3\nMESSAGE=c\nX=1\nX=3\n\n")
    async with running_input(
        plugins.make(inputs, "systemd", systemd_filter=["X=1", "X=3"], systemd_filter_type=kind), sink
    ):
        await sink.take(len(messages))
    assert stand_in.calls[0].endswith(f" -- {words}")
    assert [record["MESSAGE"] for record in sink.records] == messages


async def test_what_cannot_work_is_refused(
    plugins: PluginKit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stand_in: StandIn
) -> None:
    for match in ("x=1", "NO", "__CURSOR=1"):
        with pytest.raises(InvalidProperty, match="is not FIELD=value"):
            plugins.make(inputs, "systemd", systemd_filter=match)
    with pytest.raises(InvalidProperty, match="max_entries"):
        plugins.make(inputs, "systemd", max_entries=0)
    with pytest.raises(PluginError, match="is not a folder"):
        await plugins.make(inputs, "systemd", path=str(tmp_path / "none")).open()
    with pytest.raises(PluginError, match=r"none/journal\.db' cannot be opened"):
        await plugins.make(inputs, "systemd", db=str(tmp_path / "none/journal.db")).open()
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(PluginError, match="journalctl is not found in PATH; it comes with systemd"):
        await plugins.make(inputs, "systemd").open()


def command(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


async def test_a_real_journal_is_followed_and_gone_on_with(kit: EngineKit, journal: Journal) -> None:
    journal.write({"MESSAGE": "one", "_SYSTEMD_UNIT": "a.service", "PRIORITY": "6"}, {"MESSAGE": "two\nlines"})
    text = f"""
        service: {{flush: 0.05}}
        pipeline:
          inputs:
            - {{name: systemd, tag: 'j.*', path: {journal.folder}, db: cursor.db, lowercase: on}}
          outputs:
            - {{name: file, match: 'j.a.service', file: units, format: template, template: '{{message}}'}}
            - {{name: file, match: 'j.unknown', file: others, format: template, template: '{{message}}'}}
        """
    async with kit.run(text) as running:
        assert await kit.has_lines("units", 1) == ["one"]
        assert await kit.has_lines("others", 2) == ["two", "lines"]
        journal.write({"MESSAGE": "three", "_SYSTEMD_UNIT": "a.service"})
        await kit.has_lines("units", 2)
        assert await running.reload(text.replace("lowercase: on", "lowercase: on, max_fields: 50"))
        journal.write({"MESSAGE": "four", "_SYSTEMD_UNIT": "a.service"})
        await kit.has_lines("units", 3)
    journal.write({"MESSAGE": "five", "_SYSTEMD_UNIT": "a.service"})
    async with kit.run(text):
        await kit.has_lines("units", 4)
    assert kit.lines("units") == ["one", "three", "four", "five"]
    assert kit.lines("others") == ["two", "lines"]


async def test_a_real_journalctl_takes_the_flags_and_the_filters(
    plugins: PluginKit, sink: Sink, journal: Journal
) -> None:
    journal.write({"MESSAGE": "old", "X": "1"})
    systemd = plugins.make(
        inputs, "systemd", path=str(journal.folder), read_from_tail=True, systemd_filter=["X=1", "Y=2"]
    )
    async with running_input(systemd, sink):
        await eventually(lambda: any(b"--follow" in command(pid) for pid in processes_in(journal.folder)))
        journal.write({"MESSAGE": "neither"}, {"MESSAGE": "raw \x01\n", "Y": "2", "_COMM": "c"})
        await sink.take(1)
    (record,) = sink.records
    assert record == {"MESSAGE": "raw \x01\n", "Y": "2", "_COMM": "c", "_BOOT_ID": "0123456789abcdef0123456789abcdef"}
    assert sink.batches[0].times == [1_772_359_203_000_000_000]


@pytest.mark.soak
def test_an_engine_that_is_killed_again_and_again_loses_no_entry(kit: EngineKit, journal: Journal) -> None:
    text = f"""
        service: {{flush: 0.05}}
        pipeline:
          inputs:
            - {{name: systemd, tag: j, path: {journal.folder}, db: cursor.db, max_entries: 7}}
          outputs:
            - {{name: file, match: j, file: out, format: template, template: '{{MESSAGE}}'}}
        """
    chance, count = Random(1), 0
    for kill in range(10):
        journal.write(*({"MESSAGE": str(number)} for number in range(count, count + 100)))
        count += 100
        with kit.child(text, name=f"engine{kill}") as engine:
            enough = len(kit.lines("out")) + chance.randrange(1, 100)
            engine.wait_for(lambda: len(kit.lines("out")) >= enough)  # noqa: B023  # at once
            engine.kill()
    with kit.child(text) as engine:
        engine.wait_for(lambda: str(count - 1) in kit.lines("out"))
    found = list(map(int, kit.lines("out")))
    assert set(found) == set(range(count))
    print(f"{count} entries, 10 kills as soon as some are written: none lost, {len(found) - count} twice")
