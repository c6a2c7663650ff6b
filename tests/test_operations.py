"""docs/operations.md says what the code does, where a list in it could fall behind."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import pytest
import yaml

from agent.policy import Policy, policy_of
from headrace.cli.exits import Exit
from headrace.types import CommandKind
from headrace.variables import PASSED_ON

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs/operations.md").read_text()
KINDS = r"\"((?:agent|ca|pipeline|plane|secret|token|user|variables|workload)\.[a-z_]+)\""
SOURCES = [path.read_text() for path in (ROOT / "controlplane").rglob("*.py")]
EVENTS = {kind for text in SOURCES for kind in re.findall(KINDS, text)} - {
    "agent.engine",
    "ca.crt",
}  # a module, and a file


def test_every_event_is_explained() -> None:
    assert len(EVENTS) > 20
    asked = {f"pipeline.{kind.value}" for kind in (CommandKind.RESTART, CommandKind.RETRY)}
    told = set(re.findall(r"`([a-z]+\.[a-z_]+)`", PAGE.partition("## What the events say")[2]))
    assert told == EVENTS | asked


def test_every_variable_that_is_passed_on_is_listed() -> None:
    (listed,) = re.findall(r"Passed on are `([^`]*)`", PAGE)
    assert set(listed.split()) == PASSED_ON


def test_every_rule_of_a_policy_is_shown_and_the_example_is_one() -> None:
    section = PAGE.partition("## What an agent lets a pipeline do")[2]
    example = re.findall(r"```yaml\n(.*?)```", section, re.DOTALL)[0]
    rules = yaml.safe_load(example)
    policy_of(rules)
    assert set(rules) == {field.name for field in dataclasses.fields(Policy)}


@pytest.mark.parametrize("code", Exit)
def test_every_exit_code_is_explained(code: Exit) -> None:
    assert re.search(rf"\b{code.value}\s[a-z]+", PAGE.rpartition("## Exit codes")[2])
