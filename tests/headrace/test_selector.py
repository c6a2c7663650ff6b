"""The label-selector language: what each form means, that its one text reads back, and what is refused and why."""

from collections.abc import Callable, Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.errors import InvalidError
from headrace.selector import MAX_LENGTH, Operator, Requirement, Selector, SelectorError, parse

Labels = Mapping[str, str]


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("role=edge", "role=edge"),
        ("role==edge", "role=edge"),
        ("role = edge", "role=edge"),
        ("role!=edge", "role!=edge"),
        ("role", "role"),
        ("!role", "!role"),
        ("! role", "!role"),
        ("region in (us,eu,us)", "region in (eu,us)"),
        ("region in(us)", "region=us"),
        ("region notin ( us , eu )", "region notin (eu,us)"),
        ("region notin (us)", "region!=us"),
        ("b=1,a=2,b=1", "a=2,b=1"),
        ("example.com/role=edge", "example.com/role=edge"),
        ("role=", "role="),
        ("role=,x", "role=,x"),
        ("role in (,edge)", "role in (,edge)"),
        ("disk>5,disk < 10", "disk<10,disk>5"),
        ("in in (in,notin)", "in in (in,notin)"),
        ("notin notin (in)", "notin!=in"),
        ("!in", "!in"),
        ("a=in", "a=in"),
        ("*", "*"),
        ("\t* \n", "*"),
    ],
)
def test_every_form_has_one_text(text: str, canonical: str) -> None:
    assert str(parse(text)) == canonical
    assert parse(canonical) == parse(text)


@pytest.mark.parametrize(
    ("text", "selected", "left"),
    [
        ("a=1", [{"a": "1"}, {"a": "1", "b": "2"}], [{}, {"a": "2"}, {"b": "1"}]),
        ("a!=1", [{}, {"a": "2"}, {"b": "1"}], [{"a": "1"}]),
        ("a in (1,2)", [{"a": "1"}, {"a": "2"}], [{}, {"a": "3"}, {"a": ""}]),
        ("a notin (1,2)", [{}, {"a": "3"}, {"a": ""}], [{"a": "1"}, {"a": "2"}]),
        ("a", [{"a": ""}, {"a": "1"}], [{}, {"b": "1"}]),
        ("!a", [{}, {"b": "1"}], [{"a": ""}, {"a": "1"}]),
        ("a=", [{"a": ""}], [{}, {"a": "1"}]),
        ("a>5", [{"a": "6"}, {"a": "10"}], [{}, {"a": "5"}, {"a": "x"}, {"a": ""}]),
        ("a<5", [{"a": "4"}, {"a": "-1"}], [{}, {"a": "5"}, {"a": "10"}, {"a": "x"}]),
        ("a=1,!b", [{"a": "1"}], [{}, {"a": "1", "b": ""}]),
        ("*", [{}, {"a": "1"}], []),
    ],
)
def test_a_selector_matches_as_in_kubernetes(text: str, selected: list[Labels], left: list[Labels]) -> None:
    selector = parse(text)
    assert [labels for labels in selected if not selector.matches(labels)] == []
    assert [labels for labels in left if selector.matches(labels)] == []


@pytest.mark.parametrize(
    ("text", "column", "reason"),
    [
        ("", 1, "it is empty; write '*' to select every agent, or labels such as 'role=edge'"),
        ("  ", 1, "it is empty; write '*' to select every agent, or labels such as 'role=edge'"),
        (",", 1, "found ',': expected a label's key"),
        ("a,", 3, "found the end: expected a label's key"),
        ("a,,b", 3, "found ',': expected a label's key"),
        ("(a)", 1, "found '(': expected a label's key"),
        ("!!a", 2, "found '!': expected a label's key"),
        ("a b", 3, "found 'b': expected one of = == != in notin > < or ','"),
        ("a inn (b)", 3, "found 'inn': expected one of = == != in notin > < or ','; did you mean 'in'?"),
        (
            "a not in (b)",
            3,
            "found 'not': expected one of = == != in notin > < or ','; write '!key', 'key!=value' or 'key notin (a,b)'",
        ),
        ("a=b c", 5, "found 'c': expected ',' or the end"),
        ("a=b)", 4, "found ')': expected ',' or the end"),
        ("a=b and c=d", 5, "found 'and': expected ',' or the end; join requirements with ','"),
        ("a=b || c=d", 5, "found '||': expected ',' or the end; write 'key in (a,b)', or one pipeline for each"),
        ("a in b", 6, "found 'b': expected '(' and the values, as in 'region in (eu,us)'"),
        ("a in", 5, "found the end: expected '(' and the values, as in 'region in (eu,us)'"),
        ("a in ()", 7, "found ')': expected at least one value between '(' and ')'"),
        ("a in (b", 8, "found the end: expected ',' or the ')' that closes column 6"),
        ("a in (b c)", 9, "found 'c': expected ',' or the ')' that closes column 6"),
        ("!a=b", 3, "found '=': '!a' says that there is no such label and takes no value; for a value write 'a!=…'"),
        ("a=*", 3, "found '*': there are no wildcards; 'key' alone takes any value, and '*' alone every agent"),
        ("*,a", 1, "found '*': there are no wildcards; 'key' alone takes any value, and '*' alone every agent"),
        ("a>b", 3, "found 'b': expected a whole number to compare with"),
        ("a>", 3, "found the end: expected a whole number to compare with"),
        (
            "a:b",
            1,
            "label key 'a:b': must be 1-63 letters, digits, '-', '_' or '.', beginning and ending with a letter "
            "or digit; a value is given as key=value",
        ),
        ("X/y=1", 1, "label key 'X/y': what stands before '/' must be a lower-case DNS name of at most 253 characters"),
        (
            "a=-b",
            3,
            "label value '-b' must be empty, or 1-63 letters, digits, '-', '_' or '.', beginning and ending "
            "with a letter or digit",
        ),
    ],
)
def test_what_is_no_selector_is_refused_with_place_and_reason(text: str, column: int, reason: str) -> None:
    with pytest.raises(SelectorError) as raised:
        parse(text)
    assert (raised.value.column, raised.value.reason) == (column, reason)
    assert str(raised.value) == f"selector {text!r}, column {column}: {reason}"
    assert raised.value.code == InvalidError.code


def test_the_excerpt_points_at_the_place() -> None:
    with pytest.raises(SelectorError) as raised:
        parse("role=edge region=eu")
    assert raised.value.excerpt == "role=edge region=eu\n          ^"


def test_an_overlong_selector_is_refused_without_being_read() -> None:
    with pytest.raises(SelectorError, match=f"it has {MAX_LENGTH + 1} characters, and may have {MAX_LENGTH}"):
        parse("a" * (MAX_LENGTH + 1))


words = st.from_regex(r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,6}[A-Za-z0-9])?", fullmatch=True)
keys = st.sampled_from(["a", "b", "in", "notin", "example.com/a"]) | words
values = st.sampled_from(["", "1", "2", "10", "in"]) | words
numbers = st.integers(0, 20).map(str)

requirements = (
    st.builds(Requirement, keys, st.sampled_from([Operator.EXISTS, Operator.ABSENT]))
    | st.builds(
        Requirement,
        keys,
        st.sampled_from([Operator.IN, Operator.NOT_IN]),
        st.sets(values, min_size=1, max_size=4).map(sorted).map(tuple),
    )
    | st.builds(Requirement, keys, st.sampled_from([Operator.ABOVE, Operator.BELOW]), st.tuples(numbers))
)
selectors = st.sets(requirements, max_size=4).map(lambda some: Selector(tuple(sorted(some))))


@given(selectors)
def test_every_selector_reads_back_from_its_text(selector: Selector) -> None:
    assert parse(str(selector)) == selector


lists = st.lists(values, min_size=1, max_size=4).filter(lambda some: some != [""])  # `in ()` is refused


@st.composite
def forms(draw: st.DrawFn) -> tuple[str, Callable[[Labels], bool]]:
    """One requirement as somebody might write it, and what it means said another way."""
    key, one, some = draw(keys), draw(values), draw(lists)
    blank = draw(st.sampled_from(["", " ", "\t "]))
    listed = f"{blank},{blank}".join(some)
    return draw(
        st.sampled_from(
            [
                (f"{blank}{key}{blank}", lambda labels: key in labels),
                (f"!{blank}{key}", lambda labels: key not in labels),
                (f"{key}{blank}={blank}{one}", lambda labels: key in labels and labels[key] == one),
                (f"{key}{blank}=={blank}{one}", lambda labels: key in labels and labels[key] == one),
                (f"{key}{blank}!={blank}{one}", lambda labels: key not in labels or labels[key] != one),
                (f"{key} in{blank}({listed})", lambda labels: key in labels and labels[key] in some),
                (f"{key} notin{blank}({listed})", lambda labels: key not in labels or labels[key] not in some),
            ]
        )
    )


@given(st.lists(forms(), min_size=1, max_size=4), st.dictionaries(keys, values, max_size=4))
def test_matching_agrees_with_a_plain_reading(some: list[tuple[str, Callable[[Labels], bool]]], labels: Labels) -> None:
    selector = parse(",".join(text for text, _ in some))
    assert selector.matches(labels) == all(holds(labels) for _, holds in some)


@given(st.text(max_size=40) | st.text(alphabet="ab=!(),<>* in\t", max_size=40))
def test_any_text_is_a_selector_or_is_refused(text: str) -> None:
    try:
        selector = parse(text)
    except SelectorError as error:
        reason, column = error.reason, error.column
    else:
        assert parse(str(selector)) == selector
        return
    assert reason
    assert 1 <= column <= len(text) + 1
