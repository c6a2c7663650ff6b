"""Tables, JSON and YAML: what programs and people read."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta, timezone

import pytest
import yaml
from rich.text import Text

from headrace.api import Agent, Manifest, Pipeline, Workload
from headrace.cli.documents import agent_document, pipeline_details, workload_document
from headrace.cli.exits import printable
from headrace.cli.output import Column, Format, _coloured, plain, rfc3339, show_document, show_list, table, when
from headrace.types import AgentState, Engine, EngineInfo, Facts, File, Observed

COLUMNS: tuple[Column[tuple[str, str]], ...] = (Column("NAME", lambda row: row[0]), Column("VALUE", lambda row: row[1]))


def test_columns_are_as_wide_as_their_widest_cell_and_lines_have_no_trailing_blanks() -> None:
    assert table([("a", "1"), ("longer", "")], COLUMNS) == ["NAME     VALUE", "a        1", "longer   -"]


def test_a_watched_table_has_one_head_and_keeps_its_widths() -> None:
    widths: list[int] = []
    assert table([("longer", "1")], COLUMNS, widths)[0] == "NAME     VALUE"
    assert table([("a", "2")], COLUMNS, widths) == ["a        2"]


def test_nothing_that_an_agent_says_can_steer_the_terminal() -> None:
    assert table([("\x1b[2J\x07", "a\nb\tc")], COLUMNS)[1] == "\\x1b[2J\\x07   a b c"
    assert printable("é\x9b\u202e\r") == "é\\x9b\\u202e\\r"


@pytest.mark.parametrize(
    ("moment", "text"),
    [
        (None, ""),
        (datetime(2026, 11, 22, 10, 15, 30, tzinfo=UTC), "2026-11-22T10:15:30Z"),
        (datetime(2026, 11, 22, 10, 15, 30, 123456, tzinfo=UTC), "2026-11-22T10:15:30.123Z"),
        (datetime(2026, 11, 22, 12, 15, 30, tzinfo=timezone(timedelta(hours=2))), "2026-11-22T10:15:30Z"),
    ],
)
def test_times_are_rfc_3339_in_utc(moment: datetime | None, text: str) -> None:
    assert rfc3339(moment) == text


def test_a_time_in_a_table_is_to_the_second() -> None:
    assert when(datetime(2026, 1, 1, 1, 1, 1, 999_000, tzinfo=UTC)) == "2026-01-01T01:01:01Z"
    assert when(None) == "-"


def test_bytes_are_text_where_they_can_be() -> None:
    assert plain({"a": b"text", "b": b"\xff"}) == {"a": "text", "b": {"base64": "/w=="}}


def test_a_list_is_an_array_and_one_thing_is_an_object(capsys: pytest.CaptureFixture[str]) -> None:
    show_list([("a", "1")], columns=COLUMNS, document=lambda row: {"name": row[0]}, format=Format.JSON, none="none")
    assert json.loads(capsys.readouterr().out) == [{"name": "a"}]
    show_document({"name": "a"}, Format.JSON)
    assert json.loads(capsys.readouterr().out) == {"name": "a"}


def test_an_empty_list_is_an_empty_array_and_a_word_on_stderr_for_people(capsys: pytest.CaptureFixture[str]) -> None:
    show_list([], columns=COLUMNS, document=dict, format=Format.JSON, none="nothing")
    assert json.loads(capsys.readouterr().out) == []
    show_list([], columns=COLUMNS, document=dict, format=Format.TABLE, none="nothing")
    assert capsys.readouterr() == ("", "nothing\n")


def test_yaml_writes_configurations_as_blocks(capsys: pytest.CaptureFixture[str]) -> None:
    document = {"config": "a: b\nc: d\n", "on": "on", "none": None}
    show_document(document, Format.YAML)
    text = capsys.readouterr().out
    assert "config: |\n  a: b\n" in text
    assert yaml.safe_load(text) == document


def test_an_agent_is_flat_and_says_its_state() -> None:
    agent = Agent(
        id="a-1",
        facts=Facts(name="edge", labels={"role": "claimed"}, engines=(EngineInfo(engine=Engine.EMBEDDED),)),
        labels={"role": "edge"},
        state=AgentState.CONNECTED,
    )
    document = plain(agent_document(agent))
    assert {key: document[key] for key in ("id", "name", "labels", "state", "last_seen")} == {
        "id": "a-1",
        "name": "edge",
        "labels": {"role": "edge"},
        "state": "connected",
        "last_seen": None,
    }
    assert document["engines"][0]["engine"] == "embedded"


def test_a_workload_says_the_three_truths_even_when_nothing_is_known() -> None:
    unknown = plain(workload_document(Workload(pipeline="p", generation=3)))
    assert (unknown["generation"], unknown["desired"], unknown["attempt"], unknown["running"]) == (3, 0, None, None)
    known = plain(workload_document(Workload(pipeline="p", observed=Observed(pipeline="p", desired=3, good=2))))
    assert (known["desired"], known["good"]) == (3, 2)


def test_a_pipeline_in_full_holds_its_configuration_and_files() -> None:
    manifest = Manifest(name="p", config="x", files=(File(name="f", content=b"abc"),))
    document = plain(pipeline_details(Pipeline(manifest=manifest, phases={"good": 2, "failed": 1})))
    assert (document["config"], document["agents"]) == ("x", 3)
    assert document["files"][0]["content"] == "abc"
    assert document["files"][0]["sha256"].startswith("ba7816bf")


def test_only_states_and_phases_are_coloured_not_words_in_sentences() -> None:
    text = Text("NAME   connected   2 good, 1 failed\n1 gained, 0 lost it\n7   revision 1 stopped, for good\n")
    coloured = [text.plain[span.start : span.end] for span in _coloured(text).spans]
    assert coloured == ["connected", "good", "failed"]
