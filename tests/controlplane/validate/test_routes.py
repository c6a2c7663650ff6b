"""From inputs to outputs: what can never arrive is said, what may arrive is not."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlplane.validate.tags import Meeting, meets
from tests.controlplane.validate.fleet import ROUTED, inputs, manifest, said


def routes(sections: str, *, rest: str) -> list[str]:
    return said(manifest(inputs(sections, rest=rest)))


def test_an_output_that_takes_what_no_input_gives_is_a_warning() -> None:
    found = routes("name: dummy, tag: app.log", rest=ROUTED.replace("]", ", {name: stdout, match: 'web.*'}]"))
    assert found == ["warning edge:4:56: output 'stdout' takes tags 'web.*', which no input gives"]


def test_a_filter_that_takes_what_no_input_gives_is_a_warning() -> None:
    found = routes("name: dummy, tag: app", rest="  filters: [{name: grep, match: ap}]\n" + ROUTED)
    assert found == ["warning edge:4:26: filter 'grep' takes tags 'ap', which no input gives"]


def test_an_input_that_no_output_takes_is_a_warning() -> None:
    found = said(manifest(inputs("name: dummy, tag: a", "name: dummy, tag: b", rest=ROUTED.replace("*", "a"))))
    assert found == ["warning edge:4:21: no output takes the tag 'b' of input 'dummy'"]


def test_no_input_and_no_output_are_warnings() -> None:
    assert said(manifest("pipeline:\n  inputs: [{name: dummy}]\n")) == [
        "warning there is no output, so nothing would be delivered"
    ]
    assert said(manifest("pipeline:\n" + ROUTED)) == ["warning there is no input, so nothing would be read"]


def test_an_output_without_match_takes_nothing_unless_it_is_alone() -> None:
    assert routes("name: dummy", rest="  outputs: [{name: stdout}]\n") == []
    (found,) = routes("name: dummy", rest="  outputs: [{name: stdout}, {name: 'null', match: '*'}]\n")
    assert "output 'stdout' has no 'match', so it takes nothing" in found


@pytest.mark.parametrize(
    ("sections", "match"),
    [
        ("name: dummy", "dummy.0"),
        ("name: dummy, alias: web", "dummy.*"),
        ("name: tail, path: /var/log/*.log, tag: kube.*", "kube.var.log.x"),
        ("name: tail, path: x, tag: 'kube.<pod>.log'", "kube.web.log"),
        ("name: forward", "whatever"),
        ("name: http, tag: t", "whatever"),
        ("name: dummy, tag: '${HEADRACE_AGENT}.log'", "a.log"),
        ("name: dummy, tag: '${HEADRACE_AGENT}'", "${HEADRACE_AGENT}"),
        ("name: dummy, tag: a.b.c", "a*c"),
    ],
)
def test_a_tag_that_may_fit_is_taken_to_fit(sections: str, match: str) -> None:
    assert routes(sections, rest=f"  outputs: [{{name: stdout, match: '{match}'}}]\n") == []


@pytest.mark.parametrize(
    ("sections", "match"),
    [
        ("name: tail, path: x, tag: kube.*", "web.*"),
        ("name: dummy, tag: '${HEADRACE_AGENT}.log'", "*.txt"),
        ("name: dummy, tag: a.b.c", "a*d"),
        ("name: dummy", "tail.*"),
    ],
)
def test_a_tag_that_cannot_fit_is_told(sections: str, match: str) -> None:
    found = routes(sections, rest=f"  outputs: [{{name: stdout, match: '{match}'}}]\n")
    assert len(found) == 2


def test_a_regular_expression_may_take_anything() -> None:
    assert routes("name: dummy, tag: a", rest="  outputs: [{name: stdout, match_regex: '^b$'}]\n") == []


def test_records_with_a_new_tag_count_too() -> None:
    rest = "  filters: [{name: rewrite_tag, match: a, rule: '$level ^(x)$ new.$1.$TAG[0] false'}]\n"
    assert routes("name: dummy, tag: a", rest=rest + "  outputs: [{name: stdout, match: new.*}]\n") == []
    (found,) = routes("name: dummy, tag: a", rest=rest + "  outputs: [{name: stdout, match: old.*}]\n")
    assert "takes tags 'old.*', which no input gives" in found


def test_an_input_that_is_not_to_be_routed_is_left_alone() -> None:
    rest = "  outputs: [{name: stdout, match: b}]\n"
    found = said(manifest(inputs("name: dummy, tag: a, routable: off", "name: dummy, tag: b", rest=rest)))
    assert not any("no output takes" in line for line in found)


def test_routes_that_inputs_name_themselves_are_not_judged() -> None:
    section = "name: dummy, tag: a, routes: {logs: [{name: r, condition: {default: true}, to: {outputs: [o]}}]}"
    assert routes(section, rest="  outputs: [{name: stdout, alias: o}]\n") == []


PATTERNS = st.text("ab*", max_size=6)


@given(PATTERNS, PATTERNS)
def test_two_patterns_meet_just_where_a_text_fits_both(one: str, other: str) -> None:
    texts = [""]
    for _ in range(one.count("a") + one.count("b") + other.count("a") + other.count("b")):
        texts += [text + letter for text in texts for letter in "ab" if len(text) < 7]
        texts = list(dict.fromkeys(texts))
        if len(texts) > 200:
            break
    fitting = any(_fits(text, one) and _fits(text, other) for text in texts)
    if fitting:
        assert meets(one, other)
    assert meets(one, other) == meets(other, one)
    if "*" not in one:
        assert meets(one, other) == _fits(one, other)


def test_work_without_end_is_taken_for_a_meeting() -> None:
    meeting = Meeting()
    assert not meeting.any(["a" * 10], "b" * 10)
    assert meeting.any(["a" * 5000], "b" * 5000)


def _fits(text: str, pattern: str) -> bool:
    return re.fullmatch(".*".join(map(re.escape, pattern.split("*"))), text) is not None
