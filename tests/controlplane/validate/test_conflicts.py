"""What two sections, or two pipelines on one agent, cannot both have."""

from __future__ import annotations

from typing import Any

import pytest

from controlplane.validate import FleetFacts
from headrace.api import Manifest
from tests.controlplane.validate.fleet import agent, errors, facts, inputs, manifest, outputs, said

TCP = "name: tcp, tag: t"
TAIL = "name: tail, tag: t, path: x, db: /var/lib/x.db"
FILE = "name: file, match: t, path: /var/log, file: out.log"


def other(config: str, selector: str = "*") -> dict[str, Manifest]:
    return {"other": manifest(config, "other", selector=selector)}


def fleet(config: str, selector: str = "*", **more: Any) -> FleetFacts:
    agents = (agent("a", role="edge", port="1"), agent("b", role="core", port="2"))
    return facts(*agents, pipelines=other(config, selector), **more)


@pytest.mark.parametrize(
    ("mine", "theirs", "what"),
    [
        (inputs(TCP), inputs(TCP), "tcp port 5170 of input 'tcp' is wanted by pipeline 'other' (input 'tcp')"),
        (inputs(TCP), inputs("name: http, port: '5170'"), "(input 'http')"),
        (inputs(TCP + ", listen: 127.0.0.1"), inputs(TCP + ", listen: localhost"), "tcp port 5170"),
        (inputs(TCP + ", listen: 127.0.0.1"), inputs(TCP + ", listen: '::'"), "tcp port 5170"),
        (outputs("name: prometheus_exporter, match: t"), inputs(TCP + ", port: '2021'"), "tcp port 2021"),
        (inputs(TAIL), inputs(TAIL.replace("/x.db", "//./x.db")), "offset database '/var/lib/x.db' of input 'tail'"),
        (outputs(FILE), outputs("name: file, match: t, file: /var/log/out.log"), "output file '/var/log/out.log'"),
        (
            inputs("name: forward, unix_path: /run/f.sock"),
            inputs("name: forward, unix_path: /run/f.sock"),
            "socket '/run/f.sock'",
        ),
        (
            inputs("name: Forward, unix_path: /run/f.sock"),
            inputs("name: forward, unix_path: /run/f.sock"),
            "socket '/run/f.sock'",
        ),
    ],
)
def test_two_pipelines_on_one_agent_that_want_the_same_thing_are_an_error(mine: str, theirs: str, what: str) -> None:
    (found,) = errors(manifest(mine), fleet(theirs))
    assert what in found
    assert found.endswith("too, on agents 'a', 'b'")


@pytest.mark.parametrize(
    ("mine", "theirs"),
    [
        (inputs(TCP), inputs(TCP + ", port: '5171'")),
        (inputs(TCP + ", port: '0'"), inputs(TCP + ", port: '0'")),
        (inputs(TCP + ", listen: 127.0.0.1"), inputs(TCP + ", listen: 127.0.0.2")),
        (inputs(TCP), inputs("name: syslog, tag: t, parser: p, mode: udp, port: '5170'")),
        (inputs(TAIL), inputs(TAIL.replace("x.db", "y.db"))),
        (inputs("name: tail, tag: t, path: x, db: x.db"), inputs("name: tail, tag: t, path: x, db: x.db")),
        (outputs("name: file, match: t, path: /x"), outputs("name: file, match: t, path: /x")),
        (inputs("name: dummy, tag: t"), inputs("name: dummy, tag: t")),
    ],
)
def test_what_is_apart_is_no_conflict(mine: str, theirs: str) -> None:
    assert errors(manifest(mine), fleet(theirs)) == []


def test_only_agents_that_run_both_are_named() -> None:
    (found,) = errors(manifest(inputs(TCP)), fleet(inputs(TCP), "role=core"))
    assert found.endswith("on agent 'b'")
    assert errors(manifest(inputs(TCP), selector="role=edge"), fleet(inputs(TCP), "role=core")) == []


def test_a_port_that_a_label_decides_conflicts_where_it_is_the_same() -> None:
    mine = manifest(inputs(TCP + ", port: '517${HEADRACE_LABEL_PORT}'"))
    (found,) = errors(mine, fleet(inputs(TCP + ", port: '5171'")))
    assert found.endswith("on agent 'a'")
    (found,) = errors(
        manifest(inputs(TCP + ", port: '5172'")), fleet(inputs(TCP + ", port: '517${HEADRACE_LABEL_PORT}'"))
    )
    assert found.endswith("on agent 'b'")
    (found,) = errors(mine, fleet(inputs(TCP + ", port: '517${HEADRACE_LABEL_PORT}'")))
    assert found.endswith("on agents 'a', 'b'")


def test_a_path_that_an_operator_decides_conflicts_where_it_is_the_same() -> None:
    variables = {"id-a": {"DIR": "/var/lib"}, "id-b": {"DIR": "/srv"}}
    mine = manifest(inputs("name: tail, tag: t, path: x, db: '${DIR}/x.db'"))
    (found,) = errors(mine, fleet(inputs(TAIL), variables=variables))
    assert found.endswith("on agent 'a'")


@pytest.mark.parametrize(
    ("selector", "named"), [("role in (edge,core)", "agents 'a', 'b'"), ("role=edge,port", "agent 'a'"), ("!x", "b'")]
)
def test_however_the_other_selects_its_agents_it_is_found(selector: str, named: str) -> None:
    (found,) = errors(manifest(inputs(TCP)), fleet(inputs(TCP), selector))
    assert found.endswith(named)


def test_two_pipelines_of_one_change_are_told_of_each_other() -> None:
    one, two = manifest(inputs(TCP), "one"), manifest(inputs(TCP), "two")
    assert "pipeline 'two'" in errors(one, None, two)[0]
    assert "pipeline 'one'" in errors(two, None, one)[0]


def test_a_pipeline_does_not_conflict_with_what_it_replaces() -> None:
    fleet = facts(pipelines={"edge": manifest(inputs(TCP))})
    assert errors(manifest(inputs(TCP)), fleet) == []


def test_another_pipeline_that_cannot_be_read_claims_nothing() -> None:
    assert errors(manifest(inputs(TCP)), fleet("pipeline: [")) == []
    assert errors(manifest(inputs(TCP)), fleet(inputs(TCP), "a b")) == []


def test_two_sections_of_one_pipeline_cannot_have_one_port() -> None:
    (found,) = errors(manifest(inputs(TCP, TCP.replace("tag: t", "tag: u"))))
    assert found == "edge:4:7: tcp port 5170 of input 'tcp' is wanted by input 'tcp', too"


@pytest.mark.parametrize(
    ("config", "what"),
    [
        (inputs(TAIL, TAIL), "offset database '/var/lib/x.db'"),
        (inputs(TAIL.replace("/var/lib/", ""), TAIL.replace("/var/lib/", "./")), "offset database 'x.db'"),
        (outputs(FILE, FILE), "output file '/var/log/out.log'"),
    ],
)
def test_two_sections_of_one_pipeline_that_share_a_file_are_a_warning(config: str, what: str) -> None:
    (found,) = said(manifest(config))
    assert found.startswith("warning ")
    assert what in found
