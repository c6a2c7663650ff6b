"""What is wrong with parser definitions."""

import pytest

from agent.engine.parsers.table import build_parsers
from tests.agent.engine.conftest import PluginKit


@pytest.mark.parametrize(
    ("definition", "message"),
    [
        ("{name: p, format: jsn}", "parser 'p': format 'jsn' is not known; did you mean 'json'?"),
        ("{name: p, format: regex}", "parser 'p': property 'regex': format regex needs an expression"),
        ("{name: p, format: regex, regex: '(?<a>['}", "parser 'p': property 'regex': "),
        ("{name: p, format: regex, regex: 'plain'}", "has no named group"),
        ("{name: p, format: json, time_format: '%Q'}", "property 'time_format': directive '%Q' is not supported"),
        ("{name: p, format: json, time_format: '%Y', time_offset: east}", "property 'time_offset': expected an offset"),
        ("{name: p, format: json, time_format: '%Y', time_zone: Mars/Base}", "this host knows no zone 'Mars/Base'"),
        ("{name: p, format: json, time_zone: Europe/Paris}", "property 'time_zone': needs 'time_format'"),
        (
            "{name: p, format: ltsv, time_format: '%Y', time_zone: Europe/Paris, time_offset: '+0100'}",
            "goes with neither 'time_offset' nor 'time_system_timezone'",
        ),
        ("{name: p, format: ltsv, types: 'a:intger'}", "'a:intger' is not a key and a type; did you mean 'integer'?"),
        (
            "{name: p, format: json, decode_field_as: escped log}",
            "decoder 'escped' is not known; did you mean 'escaped'?",
        ),
        ("{name: p, format: json, time_kep: on}", "unknown property 'time_kep'; did you mean 'time_keep'?"),
        ("{name: p}", "required property 'format' is missing"),
    ],
)
def test_a_faulty_definition_is_refused_with_the_reason(plugins: PluginKit, definition: str, message: str) -> None:
    sections = plugins.document(f"parsers:\n  - {definition}\n").parsers
    _, faults = build_parsers(tuple(sections), lambda: 0)
    assert len(faults) == 1
    assert message in str(faults[0])


def test_of_two_parsers_with_one_name_the_first_counts(plugins: PluginKit) -> None:
    table = plugins.parsers("- {name: p, format: ltsv}\n- {name: p, format: json}")
    assert table.get("p").parse(b'{"a":1}') is None


def test_an_unknown_parser_is_named_with_a_suggestion(plugins: PluginKit) -> None:
    with pytest.raises(LookupError, match="parser 'apache' is not defined; did you mean 'apache2'"):
        plugins.parsers("- {name: apache2, format: json}").get("apache")
