"""What golden case `checklist` does not show: case, and what is refused."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.engine.config import InvalidProperty
from agent.engine.filters.checklist import _exact, _partial
from agent.engine.registry import filters
from tests.agent.engine.conftest import PluginKit


@pytest.fixture
def listed(tmp_path: Path) -> str:
    path = tmp_path / "list.txt"
    path.write_text("# names\r\nEvil Host\r\n\r\nother\n")
    return str(path)


@pytest.mark.parametrize(
    ("properties", "found"),
    [
        ({}, {"Evil Host", "other"}),
        ({"ignore_case": True}, {"Evil Host", "evil host", "other"}),
        ({"mode": "partial"}, {"Evil Host", "other", "others"}),
        ({"mode": "partial", "ignore_case": True}, {"Evil Host", "evil host", "other", "others"}),
    ],
)
def test_a_value_is_looked_up_by_mode_and_case(
    plugins: PluginKit, listed: str, properties: dict[str, object], found: set[str]
) -> None:
    plugin = plugins.make(filters, "checklist", file=listed, record="hit true", **properties)
    texts = ["Evil Host", "evil host", "other", "others", "another", "# names", ""]
    records = plugins.filtered(plugin, *[{"log": text} for text in texts])
    assert {record["log"] for record in records if record.get("hit") is True} == found


def test_an_empty_list_has_nothing_on_it(plugins: PluginKit, tmp_path: Path) -> None:
    (tmp_path / "empty").write_text("#\n\n")
    for mode in ("exact", "partial"):
        plugin = plugins.make(filters, "checklist", file=str(tmp_path / "empty"), mode=mode, record="hit true")
        assert plugins.filtered(plugin, {"log": ""}, {"log": "x"}) == [{"log": ""}, {"log": "x"}]


@given(st.lists(st.text(min_size=1)), st.text())
def test_the_two_modes_are_being_in_the_list_and_beginning_with_one_of_it(values: list[str], text: str) -> None:
    assert _exact(values, False)(text) == (text in values)
    if not any(wild in "".join(values) for wild in "%_"):
        assert _partial(values, False)(text) == any(text.startswith(value) for value in values)


def test_the_wildcards_of_like_are_ones_here_too() -> None:
    is_listed = _partial(["a_c", "x%z"], False)
    assert [text for text in ("abcd", "ac", "xyz!", "xz", "xy") if is_listed(text)] == ["abcd", "xyz!", "xz"]


@pytest.mark.parametrize(
    ("properties", "message"),
    [
        ({"file": "missing.txt"}, "cannot read 'missing.txt': No such file"),
        ({"lookup_key": "$a[ b"}, "not a record accessor"),
    ],
)
def test_what_cannot_be_looked_up_is_refused(
    plugins: PluginKit, listed: str, properties: dict[str, str], message: str
) -> None:
    with pytest.raises(InvalidProperty, match=message):
        plugins.make(filters, "checklist", **{"file": listed, "record": "a b", **properties})
