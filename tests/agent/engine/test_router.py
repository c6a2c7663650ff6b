"""Tags and patterns."""

from fnmatch import fnmatchcase

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.engine.router import Routes, tag_matcher

ALPHABET = "ab.*"


@pytest.mark.parametrize(
    ("match", "tag", "taken"),
    [
        ("*", "", True),
        ("*", "a.b", True),
        ("a.*", "a.b", True),
        ("a.*", "a", False),
        ("*.log", "x.log", True),
        ("*.log", "x.log.1", False),
        ("a*c*e", "abcde", True),
        ("a*c*e", "abde", False),
        ("a.b", "aXb", False),
        ("A", "a", False),
        ("", "", True),
        ("", "a", False),
        ("a[b]", "ab", False),
    ],
)
def test_a_pattern_takes_exactly_its_tags(match: str, tag: str, taken: bool) -> None:
    assert tag_matcher(match)(tag) is taken


@given(st.text(ALPHABET, max_size=8), st.text("ab.", max_size=8))
def test_wildcards_agree_with_the_shells(match: str, tag: str) -> None:
    assert tag_matcher(match)(tag) == fnmatchcase(tag, match)


def test_an_expression_must_match_from_the_start() -> None:
    takes = tag_matcher(None, r"t\.l")
    assert takes("t.log")
    assert not takes("at.log")


def test_with_both_either_is_enough_and_with_neither_nothing_is_taken() -> None:
    takes = tag_matcher("a.*", "^b")
    assert takes("a.x")
    assert takes("bx")
    assert not takes("c")
    assert not tag_matcher(None)("a")


def test_a_broken_expression_is_refused() -> None:
    with pytest.raises(ValueError, match="not a regular expression"):
        tag_matcher(None, "(")


def test_targets_come_in_order_and_many_tags_do_not_grow_the_memory() -> None:
    routes = Routes([(tag_matcher("*"), "all"), (tag_matcher("a*"), "a"), (tag_matcher("b*"), "b")])
    assert routes.of("abc") == ("all", "a")
    for number in range(Routes.LIMIT + 10):
        routes.of(f"t{number}")
    assert len(routes._known) <= Routes.LIMIT
    assert routes.of("b") == ("all", "b")
