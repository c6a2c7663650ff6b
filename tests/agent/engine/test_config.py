"""From properties to Config dataclasses, and the messages on the way."""

from dataclasses import dataclass

import pytest

from agent.engine.config import (
    BOOLEAN,
    COMMA_LIST,
    INTEGER,
    PAIR,
    SIZE,
    STRING,
    TIME,
    included,
    option,
    read,
    split_words,
)
from headrace.config import Position, Property, Section, parse


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    path: tuple[str, ...] = option(COMMA_LIST, required=True, help="")
    count: int = option(INTEGER, 3, help="")
    size: int = option(SIZE, 10, help="")
    wait: float = option(TIME, 1, help="")
    flag: bool = option(BOOLEAN, False, name="some.flag", help="")
    pair: tuple[tuple[str, str], ...] = option(PAIR, repeated=True, help="")
    format: str = option(STRING, "json", choices=("json", "json_lines"), help="")
    rules: tuple[tuple[str, str], ...] = option(STRING, names=("set", "add"), help="")


def section(body: str) -> Section:
    return parse("pipeline:\n  inputs:\n    - name: thing\n" + body, file="p.yaml").inputs[0]


def faults(body: str, **kwargs: tuple[str, ...]) -> list[str]:
    return [str(fault) for fault in read(section(body), Shape, **kwargs)[1]]


def test_values_are_read_by_their_kind_and_defaults_fill_the_rest() -> None:
    text = """\
      path: a.log, b.log
      count: 5
      size: 2M
      wait: 1m
      some.flag: on
      pair: [k v w, 'x y']
      set: a 1
      add: b 2
      format: JSON_LINES
"""
    (shape,), found = read(section(text), Shape)
    assert not found
    assert shape == Shape(
        path=("a.log", "b.log"),
        count=5,
        size=2_000_000,
        wait=60,
        flag=True,
        pair=(("k", "v w"), ("x", "y")),
        format="json_lines",
        rules=(("set", "a 1"), ("add", "b 2")),
    )
    assert read(section("      path: x\n"), Shape)[0] == (Shape(path=("x",)),)


def test_an_included_class_is_filled_from_the_same_section() -> None:
    @dataclass(frozen=True, slots=True, kw_only=True)
    class Outer:
        name_of_it: str = option(STRING, "x", help="")
        inner: Shape = included(Shape)

    (outer,), found = read(section("      path: a\n      some.flag: on\n      name_of_it: y\n"), Outer)
    assert not found
    assert outer == Outer(name_of_it="y", inner=Shape(path=("a",), flag=True))
    missing = [str(fault) for fault in read(section("      count: x\n"), Outer)[1]]
    assert [message.partition(": ")[2] for message in missing] == [
        "input 'thing': property 'count': 'x' is not a whole number",
        "input 'thing': required property 'path' is missing",
    ]


def test_rules_that_share_an_order_keep_it() -> None:
    text = "      path: x\n      add: one\n      set: two\n      add: three\n"
    classic = parse("[INPUT]\n  name thing\n  path x\n  add one\n  set two\n  add three\n", file="p.conf").inputs[0]
    (shape,), _ = read(classic, Shape)
    assert shape.rules == (("add", "one"), ("set", "two"), ("add", "three")), text


def test_every_fault_is_listed_with_its_position_and_a_suggestion() -> None:
    found = faults("      cuont: 1\n      count: many\n      some.flag: perhaps\n      format: jsonlines\n")
    assert [message.split(": ", 1)[0] for message in found] == [
        "p.yaml:4:7",
        "p.yaml:5:7",
        "p.yaml:6:7",
        "p.yaml:7:7",
        "p.yaml:3:7",
    ]
    assert "input 'thing': unknown property 'cuont'; did you mean 'count'?" in found[0]
    assert "property 'count': 'many' is not a whole number" in found[1]
    assert "property 'some.flag': 'perhaps' is not a boolean" in found[2]
    assert "'jsonlines' is not one of json, json_lines; did you mean 'json_lines'?" in found[3]
    assert "required property 'path' is missing" in found[4]


def test_a_property_that_fluent_bit_has_and_we_do_not_is_refused_by_name() -> None:
    (message,) = faults("      path: x\n      docker_mode: on\n", refused=("docker_mode",))
    assert "'docker_mode' is known to Fluent Bit but not implemented by the embedded engine" in message


def test_an_unknown_property_that_is_like_none_lists_what_there_is() -> None:
    (message,) = faults("      path: x\n      zzz: 1\n")
    assert "unknown property 'zzz'; known are add, count" in message


def test_a_map_is_no_value() -> None:
    here = Position("p.yaml", 4, 7)
    properties = (Property("path", "x", here), Property("count", {"a": 1}, here))
    (fault,) = read(Section(kind="processor", position=here, properties=properties), Shape)[1]
    assert "property 'count': expected one value, not a list or a map" in str(fault)


@pytest.mark.parametrize(
    ("text", "count", "words"),
    [
        ("a b c", 2, ["a", "b c"]),
        ("  a\t b ", 2, ["a", "b"]),
        ('"a b" c', 2, ["a b", "c"]),
        ("'a b' 'c d'", 2, ["a b", "c d"]),
        (r'a "b \" c"', 2, ["a", 'b " c']),
        ("a 'b' c", 2, ["a", "'b' c"]),
        ("a", 2, ["a"]),
        ("", 2, []),
        ("a 'unclosed", 2, ["a", "'unclosed"]),
        ("key_value_equals k v", 3, ["key_value_equals", "k", "v"]),
    ],
)
def test_words_are_split_with_quotes_and_the_last_takes_the_rest(text: str, count: int, words: list[str]) -> None:
    assert split_words(text, count) == words
