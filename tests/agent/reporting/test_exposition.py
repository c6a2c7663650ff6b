"""The text format as both engines write it, and whatever else comes over that line."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.reporting.exposition import MAX_LABELS, Exposition, Sample, parse


def read(text: str) -> Exposition:
    return parse(text, lambda name: name.startswith("f"))


@pytest.mark.parametrize(
    ("line", "sample"),
    [
        ("f 1", Sample("f", {}, 1.0)),
        ("f{} 1", Sample("f", {}, 1.0)),
        ("f 3.0883481502532959", Sample("f", {}, 3.0883481502532959)),
        ("f -1.5e3 1795811307000", Sample("f", {}, -1500.0)),
        ("f 9007199254740992", Sample("f", {}, 2.0**53)),
        ('f{name="dummy.0"} 17', Sample("f", {"name": "dummy.0"}, 17.0)),
        ('f{a="1",b="2",} 3', Sample("f", {"a": "1", "b": "2"}, 3.0)),
        (r'f{name="my\"in"} 1', Sample("f", {"name": 'my"in'}, 1.0)),
        (r'f{name="a\\nb\nc"} 1', Sample("f", {"name": "a\\nb\nc"}, 1.0)),
        ('f{name="a} 7 # é\u2028"} 1', Sample("f", {"name": "a} 7 # é\u2028"}, 1.0)),
    ],
)
def test_a_line_is_read(line: str, sample: Sample) -> None:
    assert read(f"# TYPE f counter\n{line}\n") == Exposition((sample,))


@pytest.mark.parametrize(
    "line",
    [
        "f",
        "f x",
        "f NaN",
        "f +Inf",
        "f 1e999",
        "f 1_000",
        "f ١",
        "f{ 1",
        'f{a="b} 1',
        'f{a="b" c="d"} 1',
        "f{a=b} 1",
        'f{a="b"} 1 2 3',
        "f{" + ",".join(f'l{n}="x"' for n in range(MAX_LABELS + 1)) + "} 1",
        'f{a="' + "x" * 5000 + '"} 1',
    ],
)
def test_a_line_that_cannot_be_read_costs_itself_and_is_counted(line: str) -> None:
    assert read(f"{line}\nfine 2\n") == Exposition((Sample("fine", {}, 2.0),), refused=1)


def test_what_is_not_wanted_is_not_looked_at() -> None:
    assert read("g{broken 1\n# HELP f 1\n\n{} 1\n1f 2\n") == Exposition(())


def test_more_than_the_bound_is_counted_and_left_out() -> None:
    text = "".join(f"f{n} 1\n" for n in range(10))
    found = parse(text, lambda name: True, most=4)
    assert [sample.name for sample in found.samples] == ["f0", "f1", "f2", "f3"]
    assert found.refused == 6


@given(st.text())
def test_no_text_is_too_strange(text: str) -> None:
    found = parse(text, lambda name: True)
    assert len(found.samples) + found.refused <= text.count("\n") + 1


@given(
    st.dictionaries(st.from_regex(r"[a-zA-Z_][a-zA-Z0-9_]{0,8}", fullmatch=True), st.text(max_size=30), max_size=8),
    st.floats(allow_nan=False, allow_infinity=False),
)
def test_every_label_that_is_escaped_as_the_format_says_comes_back(labels: dict[str, str], value: float) -> None:
    def escaped(text: str) -> str:
        return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")

    inner = ",".join(f'{key}="{escaped(label)}"' for key, label in labels.items())
    assert parse(f"f{{{inner}}} {value!r}\n", lambda name: True) == Exposition((Sample("f", labels, value),))
