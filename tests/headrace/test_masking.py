"""Secrets in text that leaves: none is left in it, and nothing else is missing from it."""

from __future__ import annotations

import base64
import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from headrace.masking import MARK, SHORTEST, Mask
from headrace.types import Fault

# Few letters, and the mark's own, so that values overlap, repeat, and are made by masking others.
LETTERS = st.text("ab*\n\"'\\é", max_size=40)
VALUES = st.lists(st.text("ab*\n\"'\\é", min_size=SHORTEST, max_size=10), max_size=4)


@given(VALUES, LETTERS, st.data())
@example(["a***b", "bbbb"], "abbbbb", None)
@example(["****"], "*" * 40, None)
@example(["abab"], "abababab", None)
def test_no_value_is_left_whatever_the_text(values: list[str], text: str, data: st.DataObject | None) -> None:
    for value in values if data is not None else ():
        place = data.draw(st.integers(0, len(text)))
        text = text[:place] + value + text[place:]
    shown = Mask(values).text(text)
    assert [value for value in values if value in shown] == []


@given(VALUES, st.text(max_size=40))
def test_a_text_without_a_value_is_as_it_was(values: list[str], text: str) -> None:
    assert Mask().text(text) == text
    mask = Mask(values)
    assert mask.text(mask.text(text)) == mask.text(text)


@given(st.text(min_size=SHORTEST, max_size=20), st.text("xyz ", max_size=10), st.text("xyz ", max_size=10))
def test_what_stands_beside_a_value_stays(value: str, before: str, after: str) -> None:
    if not set(value) & set("xyz *"):
        assert Mask([value]).text(f"{before}{value}{after}") == f"{before}{MARK}{after}"


@pytest.mark.parametrize(
    ("values", "text", "shown"),
    [
        (["hunter22"], "password=hunter22!", "password=***!"),
        (["abcd", "cdef"], "xabcdefx", "x***x"),
        (["long-value", "long-value-2"], "it is long-value-2", "it is ***"),
        (['say "hi"'], json.dumps({"a": 'say "hi"'}), '{"a": "***"}'),
        (["a b/c+d"], "GET /?q=a%20b%2Fc%2Bd", "GET /?q=***"),
        (["line-one-1\nline-two-2"], "[error] line-two-2 is no key", "[error] *** is no key"),
        (["abc"], "abc is too short to be one", "abc is too short to be one"),
        (["user:pass"], base64.b64encode(b"user:pass").decode(), "***"),
    ],
)
def test_a_value_is_found_in_the_ways_that_logs_write_it(values: list[str], text: str, shown: str) -> None:
    assert Mask(values).text(text) == shown


def test_a_fault_and_the_fields_of_a_log_line_are_masked_all_through() -> None:
    mask = Mask(["hunter22"])
    fault = Fault(message="no hunter22", plugin="hunter22.0", property="hunter22", file="hunter22", line=3)
    assert mask.fault(fault) == Fault(message="no ***", plugin="***.0", property="***", file="***", line=3)
    assert mask.any({"faults": ["hunter22", ("x", "hunter22")], "count": 2}) == {
        "faults": ["***", ["x", "***"]],
        "count": 2,
    }
