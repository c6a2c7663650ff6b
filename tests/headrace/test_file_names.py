"""What the files of a pipeline may be called."""

from __future__ import annotations

import pytest

from agent.runtimes.render import NAMES
from headrace.file_names import RESERVED, objection


@pytest.mark.parametrize("name", ["parsers.conf", "lua/a.lua", "agent/__init__.py", "ä b.conf", "n" * 255, "a/data"])
def test_an_ordinary_name_is_fine(name: str) -> None:
    assert objection(name) == ""


@pytest.mark.parametrize(
    "name", ["", "/etc/passwd", "../x", "a/../b", "a//b", "a/", "./a", "a\0b", "a\nb", "a\\b", "\x7f", "\u202egnp"]
)
def test_a_name_that_leaves_the_folder_or_hides_is_refused(name: str) -> None:
    assert "must be a relative path" in objection(name)


@pytest.mark.parametrize("name", [*sorted(RESERVED), "data/x", "rev/x", ".hidden", ".git/config"])
def test_what_the_agent_uses_itself_is_refused(name: str) -> None:
    assert "the agent uses itself" in objection(name)


@pytest.mark.parametrize("name", ["n" * 256, "ä" * 128, "/".join("abcdefghi")])
def test_a_name_that_is_too_long_or_too_deep_is_refused(name: str) -> None:
    assert "too long or too deep" in objection(name)


def test_what_an_agent_renders_is_among_what_it_uses_itself() -> None:
    assert set(NAMES.values()) <= RESERVED
