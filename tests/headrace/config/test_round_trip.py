"""Rendering loses nothing: the text of a document parses to an equal document, in its own format and in the other."""

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.config import SIGNALS, ConfigError, Document, Position, Property, Section, Value, parse, render

HERE = Position("x", 1, 1)
BLANK = " \t\n\v\f\r"

names = st.from_regex(r"[a-z][a-z0-9_.]{0,11}", fullmatch=True).filter(
    lambda name: name not in {"name", "processors", "routes", "telemetry", "rule", "rules", "node", "nodes"}
)
any_text = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=40)
tricky = (
    st.sampled_from(["true", "null", "~", "5", "1.10", "0x1f", "on", "- a", "a: b", "#c", "'", '"', "*x", "&y", "!z"])
    | st.sampled_from(["%", "@", "`", "a #b", "a\nb", "a\n\n b", "\n", "|", ">", "[x]", "{x}", "\\", "=", "${A}"])
    | st.sampled_from(["é", "\u2028", "\x85", "\x7f", "\ufeff", "a\n", " \na", "a \nb", "\ta", "---", "..."])
)
texts = any_text | tricky
trimmed = texts.map(lambda text: text.strip(BLANK))
words = st.text(string.ascii_letters + string.digits + "-_./*", min_size=1, max_size=12)
one_line = st.text(
    st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="\ufffe\uffff") | st.just("\t"), max_size=30
).map(lambda text: text.strip(BLANK))

nested: st.SearchStrategy[Value] = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda inner: st.lists(inner, max_size=3).map(tuple) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)


def properties(name: st.SearchStrategy[str], value: st.SearchStrategy[Value]) -> st.SearchStrategy[Property]:
    return st.builds(Property, name, value, st.just(HERE))


def named(kind: str, value: st.SearchStrategy[Value], *more: Property) -> st.SearchStrategy[Section]:
    return st.builds(
        lambda name, rest: Section(kind=kind, position=HERE, properties=(Property("name", name, HERE), *rest, *more)),
        words,
        st.lists(properties(names, value), max_size=4),
    )


def processors(value: st.SearchStrategy[Value]) -> st.SearchStrategy[tuple[Section, ...]]:
    def unit(signal: str) -> st.SearchStrategy[list[Section]]:
        return st.lists(
            st.builds(
                lambda name, rest: Section(
                    kind="processor",
                    position=HERE,
                    signal=signal,
                    properties=(Property("name", name, HERE), *rest),
                ),
                words,
                st.lists(properties(names, value), max_size=3),
            ),
            max_size=2,
        )

    return st.tuples(*map(unit, SIGNALS)).map(lambda lists: tuple(section for some in lists for section in some))


def with_rules(value: st.SearchStrategy[str]) -> st.SearchStrategy[Section]:
    rule = st.fixed_dictionaries({"state": value, "regex": value, "next_state": value})
    return st.builds(
        lambda section, rules: Section(
            kind="multiline_parser",
            position=HERE,
            properties=section.properties + tuple(Property("rule", rule, HERE) for rule in rules),
        ),
        named("multiline_parser", value),
        st.lists(rule, max_size=3),
    )


def with_nodes(value: st.SearchStrategy[str]) -> st.SearchStrategy[Section]:
    node = st.fixed_dictionaries({"name": value, "host": value, "port": value}, optional={"tls": value})
    return st.builds(
        lambda section, nodes: Section(
            kind="upstream_servers",
            position=HERE,
            properties=section.properties + tuple(Property("node", node, HERE) for node in nodes),
        ),
        named("upstream_servers", value),
        st.lists(node, max_size=3),
    )


def service(value: st.SearchStrategy[str]) -> st.SearchStrategy[Section | None]:
    rest = st.lists(properties(names, value), max_size=4)
    return st.none() | rest.map(lambda some: Section(kind="service", position=HERE, properties=tuple(some)))


def document(
    *, service: object, env: object, sections: list[st.SearchStrategy[list[Section]]]
) -> st.SearchStrategy[Document]:
    return st.builds(
        Document,
        format=st.sampled_from(["yaml", "classic"]),
        service=service,
        env=env,
        sections=st.tuples(*sections).map(lambda lists: tuple(section for some in lists for section in some)),
    )


def some(section: st.SearchStrategy[Section]) -> st.SearchStrategy[list[Section]]:
    return st.lists(section, max_size=2)


filled = trimmed.filter(bool)
env_entry = properties(words, texts | st.fixed_dictionaries({"uri": words}, optional={"refresh_interval": words}))

yaml_documents = document(
    service=service(trimmed),
    env=st.lists(env_entry, max_size=3).map(tuple),
    sections=[
        some(
            st.builds(
                lambda ps: Section(kind="extensions", position=HERE, properties=tuple(ps)),
                st.lists(properties(names, nested), max_size=2),
            )
        ),
        some(with_nodes(filled)),
        some(named("stream_processor", trimmed)),
        some(named("parser", trimmed)),
        some(with_rules(filled)),
        some(
            st.builds(
                lambda section, units: Section(
                    kind="input", position=HERE, properties=section.properties, processors=units
                ),
                named("input", texts, Property("routes", {"logs": ({"name": "a"},)}, HERE)),
                processors(texts | nested.filter(lambda value: isinstance(value, tuple | dict))),
            )
        ),
        some(named("filter", texts)),
        some(named("output", texts)),
    ],
)

quotable = one_line.filter(lambda text: text and not text.endswith("\\"))
classic_documents = document(
    service=service(one_line),
    env=st.lists(properties(words, one_line), max_size=3).map(tuple),
    sections=[
        some(named("custom", one_line)),
        some(with_nodes(one_line.filter(bool))),
        some(named("parser", one_line)),
        some(with_rules(quotable)),
        some(named("input", one_line)),
        some(named("filter", one_line)),
        some(named("output", one_line)),
    ],
)


@given(yaml_documents)
def test_what_yaml_can_hold_comes_back_from_yaml(document: Document) -> None:
    assert parse(render(document, format="yaml"), format="yaml") == document


@given(classic_documents)
def test_what_classic_can_hold_comes_back_from_both_formats(document: Document) -> None:
    assert parse(render(document, format="classic"), format="classic") == document
    assert parse(render(document, format="yaml"), format="yaml") == document


@given(classic_documents)
def test_the_format_of_a_rendered_text_is_detected(document: Document) -> None:
    text = render(document)
    if text.strip() not in ("", "{}"):
        assert parse(text).format == document.format


@given(yaml_documents)
def test_classic_holds_a_document_whole_or_is_refused(document: Document) -> None:
    try:
        text = render(document, format="classic")
    except ConfigError:
        return
    assert parse(text, format="classic") == document


def test_what_classic_cannot_hold_is_listed_with_its_place() -> None:
    text = """\
pipeline:
  inputs:
    - name: dummy
      routes: {logs: []}
      processors:
        logs:
          - name: lua
            code: |
              a
              b
  filters:
    - name: lua
      code: |
        a
        b
"""
    with pytest.raises(ConfigError) as raised:
        render(parse(text), format="classic")
    assert [str(fault) for fault in raised.value.faults] == [
        "pipeline.yaml:3:7: no classic form for processors of an input; write YAML",
        "pipeline.yaml:4:7: no classic form for 'routes': its value is nested; write YAML",
        "pipeline.yaml:13:7: no classic form for 'code': "
        "the value has several lines, control characters, or blanks at an end; write YAML",
    ]


@pytest.mark.parametrize("value", ["a\0b", "\ud800"])
def test_a_value_that_no_configuration_can_hold_is_refused(value: str) -> None:
    section = Section(kind="filter", position=HERE, properties=(Property("name", value, HERE),))
    for format in ("yaml", "classic"):
        with pytest.raises(ConfigError):
            render(Document(format=format, sections=(section,)))


def test_outer_blanks_survive_in_a_list_as_in_fluent_bit() -> None:
    section = parse("pipeline: {filters: [{name: modify, add: ['a b ']}]}").filters[0]
    assert section.get("add") == "a b "
    assert parse("pipeline: {filters: [{name: modify, add: 'a b '}]}").filters[0].get("add") == "a b"
