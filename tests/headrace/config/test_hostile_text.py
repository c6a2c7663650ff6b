"""Any text at all either parses, and then round trips, or raises ConfigError; nothing else happens."""

from hypothesis import example, given
from hypothesis import strategies as st

from headrace.config import ConfigError, parse, render, substitute, variables

fragments = (
    st.sampled_from(["pipeline:", "inputs:", "- ", "name: dummy", "\n", "  ", "    ", "\t", "processors:", "logs:"])
    | st.sampled_from(["service:", "env:", "includes:", "parsers:", "multiline_parsers:", "rules:", "plugins:"])
    | st.sampled_from(["upstream_servers:", "nodes:", "customs:", "extensions:", "routes:", "---", "...", "!!map"])
    | st.sampled_from(["{", "}", "[", "]", "'", '"', "|", ">", "&a", "*a", "? ", ": ", "#", "${A}", "${A:-b}"])
    | st.sampled_from(["[INPUT]\n", "[SERVICE]\n", "[NODE]\n", "[UPSTREAM]\n", "[MULTILINE_PARSER]\n"])
    | st.sampled_from(["@SET a=b\n", "@INCLUDE x\n", "    Name x\n", "    rule ", '"a" "b" "c"\n'])
    | st.sampled_from(["\r\n", "\0", "\ufeff", "é", "\ud800"])
)
texts = st.lists(fragments | st.text(max_size=4), max_size=25).map("".join)


@given(texts, st.sampled_from(["auto", "yaml", "classic"]))
@example("%YAML 9.9\n---\na: b", "yaml")
@example("!<tag:x> {}", "yaml")
@example("a: !!binary x", "yaml")
@example("%TAG ! x\n--- !a b", "yaml")
@example("? ? a", "yaml")
def test_any_text_parses_or_is_refused(text: str, format: str):
    faults = ()
    try:
        document = parse(text, file="f", format=format, read=lambda pattern: {pattern: text})
    except ConfigError as error:
        faults = error.faults
    if faults:
        assert all(fault.position.line >= 1 and fault.position.column >= 1 for fault in faults)
        return
    variables(document)
    substitute(document, {"A": "x"}, missing="empty")
    assert parse(render(document, format="yaml"), format="yaml") == document
