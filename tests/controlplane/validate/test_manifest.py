"""What a manifest must be, whatever its configuration says."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from controlplane.validate import check
from headrace.limits import Limits
from headrace.types import File, SecretReference, Severity
from tests.controlplane.validate.fleet import agent, facts, inputs, manifest

GOOD = manifest(inputs("name: dummy, tag: t"))
SMALL = Limits(configuration=200, file=10, pipeline=300)


def messages(**changes: Any) -> list[str]:
    changed = replace(GOOD, **changes)
    return [fault.message for fault in check([changed], facts(limits=SMALL))[changed.name].faults]


def test_nothing_is_said_about_a_good_manifest() -> None:
    assert messages() == []


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"name": "Edge_1"}, "pipeline name 'Edge_1' must be 1-63 lower-case letters"),
        ({"selector": "role in"}, "selector 'role in', column 8: found the end"),
        ({"selector": ""}, "it is empty; write '*' to select every agent"),
        ({"labels": {"a b": "c"}}, "labels: label key 'a b'"),
        ({"labels": {"a": "c d"}}, "labels: label value 'c d'"),
        ({"description": "x" * 5000}, "the description has 5000 characters, the limit is 4096"),
        ({"config": " \n"}, "its configuration is empty"),
        ({"config": "# \ud800"}, "halves of characters"),
        ({"config": "#" * 201}, "its configuration has 201 bytes, the limit is 200"),
        ({"files": (File(name="a", content=b"x" * 11),)}, "its file 'a' has 11 bytes, the limit is 10"),
        ({"files": tuple(File(name=n, content=b"x" * 10) for n in "abcdefghijkl")}, "its content, as it is sent, has"),
    ],
)
def test_each_rule_names_what_broke_it(changes: dict[str, Any], message: str) -> None:
    assert any(message in found for found in messages(**changes)), messages(**changes)


@pytest.mark.parametrize(
    "name", ["/etc/passwd", "../x", "a/../../x", "a//b", "./a", "a\\b", "a\0b", "a\nb", "", "a/", "\ud800"]
)
def test_a_file_name_that_leaves_the_folder_is_refused(name: str) -> None:
    assert any("must be a relative path" in message for message in messages(files=(File(name=name),)))


@pytest.mark.parametrize("name", ["data/x.db", "rev/1", "current", "engine.log", "headrace.yaml", ".hidden", "data"])
def test_a_file_name_that_the_agent_uses_itself_is_refused(name: str) -> None:
    assert any("the agent uses itself" in message for message in messages(files=(File(name=name),)))


@pytest.mark.parametrize("name", ["parsers.conf", "lua/filter.lua", "data.conf", "agent/__init__.py", "ünï.conf"])
def test_an_ordinary_file_name_is_taken(name: str) -> None:
    assert messages(files=(File(name=name),)) == []


def test_too_long_too_deep_and_twice_are_refused() -> None:
    assert "too long or too deep" in messages(files=(File(name="x" * 256),))[0]
    assert "too long or too deep" in messages(files=(File(name="/".join("abcdefghi")),))[0]
    assert messages(files=(File(name="a"), File(name="a"))) == ["file 'a' is given 2 times; give it once"]
    assert "also the folder of another file" in messages(files=(File(name="a"), File(name="a/b")))[0]


def test_every_fault_is_listed_at_once() -> None:
    found = messages(name="X", selector="a b", files=(File(name="../x"),), config="pipeline: [\n")
    assert len(found) >= 4


def test_a_configuration_over_the_limit_is_not_parsed() -> None:
    assert messages(config="[" * 201) == ["its configuration has 201 bytes, the limit is 200"]


def test_an_agent_gets_no_more_pipelines_than_the_limit() -> None:
    others = {f"p{number}": manifest(GOOD.config, f"p{number}", selector="role=edge") for number in range(3)}
    fleet = facts(agent("a", role="edge"), agent("b"), limits=Limits(pipelines_per_agent=3), pipelines=others)
    found = [fault.message for fault in check([GOOD], fleet)["edge"].faults]
    assert found == ["agent 'a' would run 4 pipelines, the limit is 3"]


@pytest.mark.parametrize(
    ("able", "unable", "severity", "why"),
    [
        (0, 2, Severity.ERROR, "none of its agents can take them (agents 'old-0', 'old-1'); upgrade them first"),
        (2, 1, Severity.WARNING, "1 of 3 agents cannot take them (agent 'old-0'): it will not run there"),
        (2, 0, None, ""),
    ],
    ids=["none can", "some cannot", "all can"],
)
def test_what_needs_secrets_is_told_of_agents_that_cannot_take_them(
    able: int, unable: int, severity: Severity | None, why: str
) -> None:
    agents = [agent(f"new-{number}") for number in range(able)]
    agents += [replace(agent(f"old-{number}"), capabilities=()) for number in range(unable)]
    reference = SecretReference(name="key", env="KEY")
    needs = replace(manifest(inputs("name: dummy, tag: t")), secrets=(reference,))
    found = check([needs], facts(*agents, secrets={"key": ""}))["edge"].faults
    assert [fault.severity for fault in found] == ([severity] if severity else [])
    assert all(why in fault.message for fault in found)
    assert check([replace(needs, secrets=())], facts(*agents))["edge"].faults == ()
