"""Which variables a configuration may use, and what its engine's environment holds."""

from __future__ import annotations

import pytest

from agent.environment import environment_of, known_variables
from agent.model import Plane
from headrace.config import parse

PLANE = Plane(labels={"region": "eu", "team/zone-a": "b"}, values={"LOG": "/var/log/x", "HEADRACE_LABEL_REGION": "set"})


def known(**own: str) -> dict[str, str]:
    return known_variables(agent="node-1", plane=PLANE, own=own)


def test_labels_operators_and_the_agent_itself_give_variables() -> None:
    values = known(PATH="/bin", SECRET="no", PYTHONPATH="no")
    assert values == {
        "PATH": "/bin",
        "HEADRACE_AGENT": "node-1",
        "HEADRACE_LABEL_REGION": "set",
        "HEADRACE_LABEL_TEAM_ZONE_A": "b",
        "LOG": "/var/log/x",
    }


def test_a_child_sees_what_it_uses_and_what_every_program_needs() -> None:
    document = parse("[INPUT]\n  name tail\n  path ${LOG}\n")
    environment = environment_of(document, known(PATH="/bin", TZ="UTC"))
    assert environment.values == {"PATH": "/bin", "TZ": "UTC", "LOG": "/var/log/x"}
    assert environment.used == {"LOG": "/var/log/x"}


def test_a_variable_that_nobody_set_is_a_fault_at_its_place() -> None:
    document = parse("[INPUT]\n  name tail\n  path ${LGO}\n", file="pipeline")
    (fault,) = environment_of(document, known()).faults
    assert str(fault) == (
        "pipeline:3:3: variable 'LGO' is not set for this agent; did you mean 'LOG'?; "
        "set it for a selector that matches the agent, or write ${LGO:-default}"
    )


@pytest.mark.parametrize("text", ["@SET LGO=x\n[INPUT]\n  name ${LGO}\n", "[INPUT]\n  name ${LGO:-tail}\n"])
def test_what_the_configuration_sets_itself_is_not_missing(text: str) -> None:
    assert environment_of(parse(text), known()).faults == ()


@pytest.mark.parametrize("name", ["LD_PRELOAD", "LD_LIBRARY_PATH", "PYTHONPATH", "LUA_CPATH", "OPENSSL_CONF", "ENV"])
def test_a_variable_that_would_change_the_engine_itself_is_refused(name: str) -> None:
    plane = Plane(values={name: "x"})
    document = parse(f"[INPUT]\n  name ${{{name}:-y}}\n")
    environment = environment_of(document, known_variables(agent="n", plane=plane, own={}))
    assert "would change the engine itself" in environment.faults[0].message
    assert name not in environment.values


def test_an_operator_does_not_set_what_the_agent_passes_on() -> None:
    plane = Plane(values={"PATH": "/tmp/evil", "TZ": "CET"})
    values = known_variables(agent="n", plane=plane, own={"PATH": "/bin"})
    assert (values["PATH"], values["TZ"]) == ("/bin", "CET")


def test_the_digest_follows_only_what_is_used() -> None:
    document = parse("[INPUT]\n  name tail\n  path ${LOG}\n")
    one = environment_of(document, {"LOG": "a", "OTHER": "1"}).digest
    assert environment_of(document, {"LOG": "a", "OTHER": "2"}).digest == one
    assert environment_of(document, {"LOG": "b", "OTHER": "1"}).digest != one
