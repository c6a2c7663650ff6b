"""Texts that are filled in from a record and its tag."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.engine.template import template

RECORD: dict[str, Any] = {
    "s": "x", "n": 5, "f": 2.5, "t": True, "z": None, "l": [1, "b"], "m": {"a.b c": "é", "i": [{"k": 7}]}, "d-e/f": "g"
}  # fmt: skip


@pytest.mark.parametrize(
    ("text", "filled"),
    [
        ("", ""),
        ("plain", "plain"),
        ("$", "$"),
        ("a $5 b", "a  b"),
        ("$s", "x"),
        ("$s.$n,$f $t\"$z", "x.5,2.500000 true\"null"),
        ("[$l]", None),
        ("<$l>", None),
        ("$l $gone.", " ."),
        ("$m['a.b c']", "é"),
        ("$m['i'][0]['k']!", None),
        ("$m['i'][0]['k'] $l[1]", "7 b"),
        ("$m", '{"a.b c":"\\u00e9","i":[{"k":7}]}'),
        ("$d-e/f", "g"),
        ("$TAG", "app.web.1"),
        ("$TAG[0]-$TAG[2]-$TAG[3]", "app-1-"),
        ("$TAGS", "app.web.1S"),
    ],
)  # fmt: skip
def test_places_are_filled_in(text: str, filled: str | None) -> None:
    if filled is None:
        with pytest.raises(ValueError, match="is not a record accessor"):
            template(text)
    else:
        assert template(text)("app.web.1", RECORD) == filled


@given(st.text("$TAG[]'0 .abc", max_size=12))
def test_any_text_is_a_template_or_refused(text: str) -> None:
    try:
        fill = template(text)
    except ValueError as error:
        assert "is not a record accessor" in str(error)  # noqa: PT017  # both ways are fine
    else:
        assert "$" in text or fill("x", {}) == text
