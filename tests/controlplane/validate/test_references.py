"""Parsers, files and variables that a configuration refers to."""

from __future__ import annotations

import pytest

from tests.controlplane.validate.fleet import agent, errors, facts, filters, inputs, manifest, outputs, said

PARSER = "parsers: [{name: web, format: json}]\n"
PARSERS_FILE = "[PARSER]\n    Name web\n    Format json\n"
USES = "name: tail, tag: t, path: x, parser: web"


@pytest.mark.parametrize(
    "config",
    [
        PARSER + inputs(USES),
        PARSER + inputs("name: tail, tag: t, path: x, parser_1: web"),
        PARSER + filters("name: parser, match: t, key_name: log, parser: web"),
        inputs("name: tail, tag: t, path: x, multiline.parser: 'docker, cri'"),
        "multiline_parsers: [{name: mine, type: regex, rules: [{state: start_state, regex: /a/, next_state: c}]}]\n"
        + inputs("name: tail, tag: t, path: x, multiline.parser: mine"),
    ],
)
def test_a_parser_that_is_defined_or_built_in_is_found(config: str) -> None:
    assert said(manifest(config)) == []


def test_a_parser_in_a_shipped_file_is_found() -> None:
    config = "service: {parsers_file: ./parsers.conf}\n" + inputs(USES)
    assert said(manifest(config, files={"parsers.conf": PARSERS_FILE})) == []


def test_a_parser_that_is_defined_nowhere_is_an_error() -> None:
    assert errors(manifest(PARSER + inputs(USES.replace("web", "wbe")))) == [
        "edge:4:37: parser 'wbe' is not defined; did you mean 'web'?"
    ]
    (found,) = errors(manifest(inputs("name: tail, tag: t, path: x, multiline.parser: nope")))
    assert "multiline parser 'nope' is not defined; define it" in found
    assert "built in are cri, docker" in found


def test_parsers_on_the_agents_are_not_checked_and_that_is_said() -> None:
    config = "service: {parsers_file: /etc/fluent-bit/parsers.conf}\n" + inputs(USES)
    (found,) = said(manifest(config))
    assert found.startswith("note ")
    assert "parsers file '/etc/fluent-bit/parsers.conf' is not shipped, so parsers are not checked" in found


def test_a_parsers_file_that_did_not_come_along_is_one_error() -> None:
    config = "service: {parsers_file: parsers.conf}\n" + inputs(USES)
    assert errors(manifest(config, files={"parser.conf": PARSERS_FILE})) == [
        "edge:1:11: file 'parsers.conf' is not among the pipeline's files; did you mean 'parser.conf'?"
    ]


def test_a_parsers_file_with_faults_says_where() -> None:
    config = "service: {parsers_file: parsers.conf}\n" + inputs(USES)
    found = errors(manifest(config, files={"parsers.conf": "[PARSER\n"}))
    assert found
    assert all(line.startswith("parsers.conf:1") for line in found)


@pytest.mark.parametrize(
    "config",
    [
        filters("name: lua, match: t, script: f.lua, call: f"),
        outputs("name: http, match: t, tls.ca_file: ca/root.pem"),
        "service: {streams_file: streams.conf}\n" + inputs("name: dummy, tag: t"),
    ],
)
def test_a_relative_file_must_come_along_and_an_absolute_one_need_not(config: str) -> None:
    (found,) = errors(manifest(config))
    assert "is not among the pipeline's files; add it to files, or give the absolute path" in found
    files = {"f.lua": "", "ca/root.pem": "", "streams.conf": ""}
    assert said(manifest(config, files=files)) == []
    for name in files:
        config = config.replace(f": {name}", f": /etc/{name}")
    assert said(manifest(config)) == []


def test_a_variable_that_is_set_nowhere_is_an_error_that_names_the_agents() -> None:
    fleet = facts(agent("a", region="eu"), agent("b"), variables={"id-b": {"TOKEN": "x"}})
    config = outputs("name: http, match: t, host: '${HEADRACE_LABEL_REGION}', uri: '/${TOKEN}'")
    assert errors(manifest(config), fleet) == [
        "edge:4:36: variable 'HEADRACE_LABEL_REGION' is not set for agent 'b'; "
        "set it for a selector that matches, or write ${HEADRACE_LABEL_REGION:-default}",
        "edge:4:70: variable 'TOKEN' is not set for agent 'a'; "
        "set it for a selector that matches, or write ${TOKEN:-default}",
    ]


def test_a_variable_is_suggested_where_one_is_near() -> None:
    fleet = facts(variables={"id-a": {"TOKEN": "x"}})
    (found,) = errors(manifest(outputs("name: http, match: t, uri: '/${TOKN}'")), fleet)
    assert "did you mean 'TOKEN'?" in found


@pytest.mark.parametrize(
    "value", ["${HEADRACE_AGENT}", "${HOSTNAME}", "${NOWHERE:-default}", "${HEADRACE_LABEL_TEAM_ZONE_A}", "${OWN}"]
)
def test_what_every_agent_knows_needs_no_setting(value: str) -> None:
    config = "env: {OWN: x}\n" + outputs(f"name: http, match: t, uri: '{value}'")
    assert said(manifest(config), facts(agent("a", **{"team/zone-a": "x"}))) == []


def test_an_empty_value_counts_as_none() -> None:
    config = manifest(outputs("name: http, match: t, uri: '${TOKEN}${HEADRACE_LABEL_REGION}'"))
    assert len(errors(config, facts(agent("a", region=""), variables={"id-a": {"TOKEN": ""}}))) == 2
