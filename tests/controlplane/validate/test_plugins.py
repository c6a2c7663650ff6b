"""Plugins, properties and values against what the engines of the matching agents say they have."""

from __future__ import annotations

from typing import Any

import pytest

from controlplane.validate import FleetFacts, check
from headrace.api import Manifest
from headrace.types import Engine, EngineInfo, Severity
from tests.controlplane.validate.fleet import (
    OURS,
    REAL,
    agent,
    errors,
    facts,
    filters,
    inputs,
    manifest,
    outputs,
    said,
)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (inputs("name: dumy, tag: t"), "input 'dumy' is not known to agent 'a'; did you mean 'dummy'?"),
        (filters("name: grpe, match: t"), "filter 'grpe' is not known to agent 'a'; did you mean 'grep'?"),
        (outputs("name: nul, match: t"), "output 'nul' is not known to agent 'a'; did you mean 'null'?"),
        (
            inputs("name: dummy, tag: t, ratee: '5'"),
            "property 'ratee' of input 'dummy' is not known to agent 'a'; did you mean 'rate'?",
        ),
        (filters("name: grep, match: t, regx: a b"), "property 'regx' of filter 'grep' is not known to agent 'a'"),
        (inputs("name: tail, tag: t, path: x, parser_: y"), "property 'parser_' of input 'tail' is not known"),
        (filters("name: modify, match: t, workers: '2'"), "property 'workers' of filter 'modify' is not known"),
        (outputs("name: 'null', match: t, listen: x"), "property 'listen' of output 'null' is not known"),
    ],
)
def test_what_no_matching_agent_knows_is_an_error_with_the_nearest_name(config: str, message: str) -> None:
    assert any(message in found for found in errors(manifest(config)))


@pytest.mark.parametrize(
    "config",
    [
        inputs("Name: DUMMY, tag: t, Rate: '5'"),
        filters("name: grep, match: t, regex: a b"),
        inputs("name: lib, tag: t, anything: goes"),
        inputs("name: dummy, tag: t, host: h, port: '1', ipv6: on, tls: on, tls.verify: off, listen: l"),
        outputs(
            "name: http, match: t, host: h, port: '80', workers: '2', tls.crt_file: /x, storage.total_limit_size: 5M"
        ),
        outputs("name: http, match: t, oauth2.enable: on"),
        inputs("name: http, port: '9881', buffer_max_size: 4M, workers: '2'"),
    ],
)
def test_what_the_real_engine_takes_before_its_plugins_see_it_is_known(config: str) -> None:
    assert said(manifest(config)) == []


def test_a_filter_may_be_a_processor() -> None:
    config = inputs(
        "name: dummy, tag: t, processors: {logs: [{name: grep, regex: a b}, {name: content_modifier, action: insert}]}"
    )
    assert said(manifest(config)) == []
    assert "processor 'grpe'" in errors(manifest(config.replace("grep", "grpe")))[0]


def test_what_only_some_agents_know_is_a_warning_that_names_the_others() -> None:
    fleet = facts(agent("real"), *(agent(f"ours-{number}", OURS) for number in range(5)))
    assert said(manifest(filters("name: modify, match: t, add: a b")), fleet) == [
        "warning edge:4:14: filter 'modify' is not known to agents 'ours-0', 'ours-1', 'ours-2' and 2 more"
    ]


def test_an_agent_is_judged_by_the_engine_that_it_would_take() -> None:
    config = filters("name: modify, match: t, add: a b")
    both = agent("both", REAL, OURS)
    assert said(manifest(config), facts(both)) == []
    assert "not known to agent 'both'" in errors(manifest(config), facts(agent("both", OURS, REAL)))[0]
    embedded = Manifest(name="edge", selector="*", engine=Engine.EMBEDDED, config=config)
    assert "not known to agent 'both'" in errors(embedded, facts(both))[0]


def test_only_agents_that_match_are_asked() -> None:
    fleet = facts(agent("real", role="edge"), agent("ours", OURS, role="core"))
    config = filters("name: modify, match: t, add: a b")
    assert said(manifest(config, selector="role=edge"), fleet) == []
    assert errors(manifest(config, selector="role=core"), fleet)


def test_an_engine_that_no_agent_has_is_an_error_and_one_that_some_lack_a_warning() -> None:
    wanted = Manifest(name="edge", selector="*", engine=Engine.FLUENT_BIT, config=inputs("name: dummy, tag: t"))
    assert said(wanted, facts(agent("x", OURS))) == [
        "error engine 'fluent-bit' is not on agent 'x'; install it there, or use engine auto"
    ]
    assert said(wanted, facts(agent("x", OURS), agent("y", REAL)))[0].startswith(
        "warning engine 'fluent-bit' is not on"
    )


def test_without_a_catalogue_plugins_are_not_checked_and_that_is_said() -> None:
    unknown = EngineInfo(engine=Engine.FLUENT_BIT, catalogue_sha256="elsewhere")
    config = manifest(inputs("name: dumy, tag: t"))
    assert said(config, facts(agent("new", unknown))) == [
        "note plugins are not checked for agent 'new', whose engine is not known yet"
    ]
    found = said(config, facts(agent("new", unknown), agent("a")))
    assert [line.split()[0] for line in found] == ["warning", "note"]


def test_an_agent_that_told_no_engine_yet_is_not_checked() -> None:
    fleet = FleetFacts(agents=(agent("a").__class__(id="i", name="n"),))
    assert said(manifest(inputs("name: dumy, tag: t")), fleet) == [
        "note plugins are not checked for agent 'n', whose engine is not known yet"
    ]


def test_without_agents_only_the_embedded_engine_is_asked() -> None:
    config = inputs("name: dumy, tag: t")
    nobody = FleetFacts(catalogues=facts().catalogues, embedded="c-embedded")
    assert said(manifest(config), nobody) == ["note plugins are not checked: no agent matches the selector now"]
    embedded = Manifest(name="edge", selector="*", engine=Engine.EMBEDDED, config=config)
    assert errors(embedded, nobody) == [
        "edge:3:8: input 'dumy' is not known to the embedded engine; did you mean 'dummy'?"
    ]


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        (inputs("name: dummy, tag: t, fixed_timestamp: maybe"), "'maybe' is not a boolean"),
        (filters("name: record_modifier, match: t, record: alone"), "'alone' has too few words; at least 2"),
        (inputs("name: dummy, tag: t, log_level: lud"), "'lud' is none of off, error"),
        (inputs("name: dummy, tag: t, storage.type: disk"), "'disk' is none of memory, filesystem, memrb"),
    ],
)
def test_a_value_that_the_real_engine_refuses_is_an_error(config: str, reason: str) -> None:
    (found,) = errors(manifest(config))
    assert reason in found


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        (inputs("name: dummy, tag: t, rate: fast"), "'fast' is not a whole number"),
        (inputs("name: dummy, tag: t, mem_buf_limit: lots"), "'lots' is not a size"),
        (inputs("name: tail, tag: t, path: x, refresh_interval: soon"), "'soon' is not a time"),
        (outputs("name: http, match: t, port: '99999'"), "'99999' is no port"),
        (inputs(f"name: dummy, tag: t, rate: '{'1' * 500}'"), "is too long"),
    ],
)
def test_a_value_that_the_real_engine_takes_for_another_is_a_warning(config: str, reason: str) -> None:
    (found,) = said(manifest(config))
    assert found.startswith("warning ")
    assert reason in found


def test_the_embedded_engine_refuses_every_bad_value() -> None:
    config = manifest(inputs("name: dummy, tag: t, rate: fast"))
    assert len(errors(config, facts(agent("ours", OURS)))) == 1
    assert said(config, facts(agent("a"), agent("ours", OURS))) == [
        "warning edge:3:29: property 'rate' of input 'dummy': 'fast' is not a whole number"
    ]


def test_a_value_that_an_agent_fills_in_is_not_judged() -> None:
    fleet = facts(variables={"id-a": {"RATE": "5", "PLUGIN": "dummy"}})
    assert said(manifest(inputs("name: dummy, tag: t, rate: '${RATE}'")), fleet) == []
    assert said(manifest(inputs("name: '${PLUGIN}', tag: t, what: ever")), fleet) == []


def test_a_value_that_the_configuration_fills_in_is_judged() -> None:
    config = "env: {RATE: fast}\n" + inputs("name: dummy, tag: t, rate: '${RATE}'")
    assert "'fast' is not a whole number" in said(manifest(config))[0]


@pytest.mark.parametrize(
    ("config", "lack"),
    [
        (inputs("name: tail, tag: t"), "input 'tail' needs 'path'"),
        (inputs("name: Tail, tag: t"), "input 'Tail' needs 'path'"),
        (inputs("name: exec, tag: t"), "input 'exec' needs 'command'"),
        (filters("name: grep"), "filter 'grep' needs 'match' or 'match_regex'"),
        (filters("name: parser, match: t, key_name: log"), "filter 'parser' needs 'parser'"),
        (filters("name: lua, match: t"), "filter 'lua' needs 'script' or 'code'"),
        (outputs("name: s3, match: t"), "output 's3' needs 'bucket'"),
        (inputs("name: dummy, tag: t, processors: {logs: [{name: parser}]}"), "processor 'parser' needs 'key_name'"),
    ],
)
def test_a_property_without_which_a_plugin_does_not_start_is_required(config: str, lack: str) -> None:
    assert any(lack in line for line in errors(manifest(config)))


def test_a_property_that_the_catalogue_calls_required_is_required() -> None:
    option = {"name": "token", "type": "string", "required": True}
    catalogue = {"inputs": [{"name": "ours", "properties": {"options": [option], "global_options": []}}]}
    fleet = FleetFacts(agents=(agent("a"),), catalogues={"c-fluent-bit": catalogue})
    found = errors(manifest("pipeline:\n  inputs: [{name: ours}]\n"), fleet)
    assert found == ["edge:2:12: input 'ours' needs 'token'"]


def test_plugins_that_a_configuration_loads_itself_are_not_checked() -> None:
    config = "plugins: [/opt/out_gstdout.so]\n" + outputs("name: gstdout, match: t")
    assert said(manifest(config)) == ["note plugins that the configuration loads itself are not checked"]


def test_a_plugins_file_that_names_no_plugin_hides_no_mistake() -> None:
    config = "service: {plugins_file: plugins.conf}\n" + outputs("name: gstdout, match: t")
    assert errors(manifest(config, files={"plugins.conf": "[PLUGINS]\n    # Path /x.so\n"}))
    assert not errors(manifest(config, files={"plugins.conf": "[PLUGINS]\n    Path /x.so\n"}))


def test_a_fault_says_which_plugin_and_property_it_is_about() -> None:
    config = manifest(inputs("name: dummy, tag: t, ratee: '5'"))
    (fault,) = check([config], facts())["edge"].faults
    assert (fault.plugin, fault.property, fault.file, fault.line, fault.severity) == (
        "dummy",
        "ratee",
        "edge",
        3,
        Severity.ERROR,
    )


@pytest.mark.parametrize(
    "catalogue",
    [
        None,
        [],
        "x",
        {"inputs": None},
        {"inputs": [1, {"name": 2}, {"name": "dummy"}]},
        {"inputs": [{"name": "dummy", "properties": []}]},
        {"inputs": [{"name": "dummy", "properties": {"options": [{"type": 5}, 7], "x": {}}}]},
    ],
)
def test_a_catalogue_of_another_shape_breaks_nothing(catalogue: Any) -> None:
    fleet = FleetFacts(agents=(agent("a"),), catalogues={"c-fluent-bit": catalogue})
    check([manifest(inputs("name: dummy, tag: t, rate: '1'"))], fleet)
