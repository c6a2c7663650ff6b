"""A configuration as its engine gets it."""

from __future__ import annotations

import pytest

from agent.runtimes.render import managed_keys, render
from headrace.config import parse
from headrace.types import Engine, Fault

EMBEDDED = Engine.EMBEDDED
REAL = Engine.FLUENT_BIT
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
    rendered = render(parse(text), engine=EMBEDDED, port=4321, storage="/w/p/data")
    assert rendered.name == name
    service = parse(rendered.text, file=name).service
    assert service is not None
    got = {prop.name: prop.value for prop in service.properties}
    assert got == {"flush": "2", **managed_keys(EMBEDDED, port=4321, storage="/w/p/data")}


def test_only_what_the_user_said_otherwise_is_noted() -> None:
    rendered = render(parse(YAML), engine=EMBEDDED, port=4321, storage="/w/p/data")
    assert rendered.notes == ("service key 'http_port' (9999) is managed by the agent, which sets 4321",)


def test_an_engine_never_goes_to_the_background() -> None:
    rendered = render(parse("[SERVICE]\n  daemon on\n"), engine=EMBEDDED, port=1, storage="s")
    assert "service key 'daemon' (on) is managed by the agent, which sets off" in rendered.notes
    assert "daemon" not in render(parse("[SERVICE]\n  flush 1\n"), engine=EMBEDDED, port=1, storage="s").text


def test_variables_are_left_to_the_environment() -> None:
    rendered = render(parse("[INPUT]\n  name tail\n  path ${LOG}\n"), engine=EMBEDDED, port=1, storage="s")
    assert "${LOG}" in rendered.text


def test_the_digest_is_of_what_the_engine_reads() -> None:
    one, two = (render(parse(YAML), engine=EMBEDDED, port=port, storage="s") for port in (1, 2))
    assert one.sha256 != two.sha256
    assert one.sha256 == render(parse(YAML), engine=EMBEDDED, port=1, storage="s").sha256


@pytest.mark.parametrize("text", [YAML, CLASSIC])
def test_a_fault_is_traced_to_where_the_user_wrote_it(text: str) -> None:
    rendered = render(parse(text, file="pipeline"), engine=EMBEDDED, port=4321, storage="s")
    lines = rendered.text.splitlines()
    for word in ("rate", "dummy", "grep", "regex", "stdout", "match", "flush"):
        if word not in text:
            continue
        there = next(number for number, line in enumerate(lines, 1) if word in line)
        (fault,) = rendered.traced((Fault(message="m", file="/x/headrace.yaml", line=there, column=1),))
        assert fault.file == "pipeline"
        assert word in text.splitlines()[fault.line - 1]


def test_a_fault_in_what_the_agent_added_has_no_place() -> None:
    rendered = render(parse(YAML), engine=EMBEDDED, port=4321, storage="s")
    there = next(number for number, line in enumerate(rendered.text.splitlines(), 1) if "health_check" in line)
    (fault,) = rendered.traced((Fault(message="m", file="/x/headrace.yaml", line=there, column=1),))
    assert (fault.file, fault.line) == ("", 0)


def test_a_fault_without_a_place_stays_as_it_is() -> None:
    fault = Fault(message="m")
    assert render(parse(YAML), engine=EMBEDDED, port=1, storage="s").traced((fault,)) == (fault,)


def kept(text: str) -> tuple[list[object], tuple[str, ...], object]:
    """Where each input keeps its records, what is noted of that, and whether the reload waits for them."""
    rendered = render(parse(text), engine=REAL, port=1, storage="s")
    document = parse(rendered.text)
    assert document.service is not None
    assert document.service.get("hot_reload.timeout") == "60"
    storage = [each.get("storage.type") for each in document.inputs]
    return storage, rendered.notes, document.service.get("hot_reload.ensure_thread_safety")


TAIL = "[INPUT]\n  name tail\n  path x\n"


def test_fluent_bit_keeps_records_on_disk_and_so_need_not_wait_for_outputs_in_a_reload() -> None:
    assert kept(TAIL) == (["filesystem"], (), "off")
    assert kept(f"{TAIL}  storage.type filesystem\n") == (["filesystem"], (), "off")
    assert kept(f"[SERVICE]\n  hot_reload.ensure_thread_safety on\n{TAIL}") == (["filesystem"], (), "on")


@pytest.mark.parametrize("line", ["storage.type memory", "mem_buf_limit 5M"])
def test_a_pipeline_that_says_how_to_keep_records_has_it_so_and_is_told_what_that_means(line: str) -> None:
    storage, notes, safety = kept(f"{TAIL}  {line}\n{TAIL}  alias second\n")
    assert storage == ["memory" if "memory" in line else None, "filesystem"]
    assert safety is None
    assert notes == (
        f"input 'tail' keeps records in memory, by its {line.split()[0]}: those under way are lost with the engine; "
        "'storage.type: filesystem' keeps them",
    )


def test_a_service_that_says_how_to_keep_records_is_left_alone() -> None:
    assert kept(f"[SERVICE]\n  storage.type memory\n  storage.inherit on\n{TAIL}") == ([None], (), None)


def test_filters_that_hold_records_keep_them_on_disk_too() -> None:
    text = f"{TAIL}[FILTER]\n  name rewrite_tag\n  match *\n[FILTER]\n  name grep\n  match *\n"
    document = render(parse(text), engine=REAL, port=1, storage="s").document
    assert [each.get("emitter_storage.type") for each in document.filters] == ["filesystem", None]
    _, notes, safety = kept(f"{TAIL}[FILTER]\n  name multiline\n  match *\n  emitter_mem_buf_limit 1M\n")
    assert "filter 'multiline' keeps records in memory, by its emitter_mem_buf_limit" in notes[0]
    assert safety is None


def test_the_log_of_an_engine_stays_where_the_agent_reads_it() -> None:
    rendered = render(parse("[SERVICE]\n  log_file /x\n"), engine=EMBEDDED, port=1, storage="s")
    assert rendered.notes == ("service key 'log_file' (/x) is managed by the agent, which sets /dev/stderr",)
