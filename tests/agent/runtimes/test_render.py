"""A configuration as its engine gets it."""

from __future__ import annotations

import pytest

from agent.runtimes.render import managed_keys, render
from headrace.config import parse
from headrace.types import Fault

YAML = """\
service:
  flush: 2
  http_port: 9999
  HTTP_Server: true

pipeline:

  inputs:
    - name: dummy
      rate: 3
      processors:
        logs:
          - name: grep
            regex: a b
  outputs:
    - match: '*'
      name: stdout
"""
CLASSIC = "[SERVICE]\n  flush 2\n  http_port 9999\n\n[INPUT]\n\n  name dummy\n  rate 3\n"


@pytest.mark.parametrize(("text", "name"), [(YAML, "headrace.yaml"), (CLASSIC, "headrace.conf")])
def test_managed_keys_win_and_the_users_stay(text: str, name: str) -> None:
    rendered = render(parse(text), port=4321, storage="/w/p/data")
    assert rendered.name == name
    service = parse(rendered.text, file=name).service
    assert service is not None
    got = {prop.name: prop.value for prop in service.properties}
    assert got == {"flush": "2", **managed_keys(port=4321, storage="/w/p/data")}


def test_only_what_the_user_said_otherwise_is_noted() -> None:
    rendered = render(parse(YAML), port=4321, storage="/w/p/data")
    assert rendered.notes == ("service key 'http_port' (9999) is managed by the agent, which sets 4321",)


def test_an_engine_never_goes_to_the_background() -> None:
    rendered = render(parse("[SERVICE]\n  daemon on\n"), port=1, storage="s")
    assert "service key 'daemon' (on) is managed by the agent, which sets off" in rendered.notes
    assert "daemon" not in render(parse("[SERVICE]\n  flush 1\n"), port=1, storage="s").text


def test_variables_are_left_to_the_environment() -> None:
    rendered = render(parse("[INPUT]\n  name tail\n  path ${LOG}\n"), port=1, storage="s")
    assert "${LOG}" in rendered.text


def test_the_digest_is_of_what_the_engine_reads() -> None:
    one, two = (render(parse(YAML), port=port, storage="s") for port in (1, 2))
    assert one.sha256 != two.sha256
    assert one.sha256 == render(parse(YAML), port=1, storage="s").sha256


@pytest.mark.parametrize("text", [YAML, CLASSIC])
def test_a_fault_is_traced_to_where_the_user_wrote_it(text: str) -> None:
    rendered = render(parse(text, file="pipeline"), port=4321, storage="s")
    lines = rendered.text.splitlines()
    for word in ("rate", "dummy", "grep", "regex", "stdout", "match", "flush"):
        if word not in text:
            continue
        there = next(number for number, line in enumerate(lines, 1) if word in line)
        (fault,) = rendered.traced((Fault(message="m", file="/x/headrace.yaml", line=there, column=1),))
        assert fault.file == "pipeline"
        assert word in text.splitlines()[fault.line - 1]


def test_a_fault_in_what_the_agent_added_has_no_place() -> None:
    rendered = render(parse(YAML), port=4321, storage="s")
    there = next(number for number, line in enumerate(rendered.text.splitlines(), 1) if "health_check" in line)
    (fault,) = rendered.traced((Fault(message="m", file="/x/headrace.yaml", line=there, column=1),))
    assert (fault.file, fault.line) == ("", 0)


def test_a_fault_without_a_place_stays_as_it_is() -> None:
    fault = Fault(message="m")
    assert render(parse(YAML), port=1, storage="s").traced((fault,)) == (fault,)
