"""Record accessors."""

import pytest

from agent.engine.accessor import MISSING, accessor

RECORD = {"a": 1, "b": {"c": [10, {"d": None}], "it's": 2}, "x.y/z-1": 3, "n": None}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("a", 1),
        ("$a", 1),
        ("$b['c'][0]", 10),
        ("$b['c'][1]['d']", None),
        ("$b['it''s']", 2),
        ("$x.y/z-1", 3),
        ("$n", None),
        ("$b['c']['x']", MISSING),
        ("$b['c'][2]", MISSING),
        ("$a['c']", MISSING),
        ("$gone['c'][0]", MISSING),
        ("b['c']", MISSING),
    ],
)
def test_an_accessor_finds_the_value_or_says_that_it_is_missing(text: str, value: object) -> None:
    found = accessor(text)(RECORD)
    assert found is value if value in (None, MISSING) else found == value


@pytest.mark.parametrize("text", ["$", "$1a", "$a[", "$a['b", "$a[-1]", "$a[01]", "$a b", "$a['b']c"])
def test_a_malformed_accessor_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not a record accessor"):
        accessor(text)
