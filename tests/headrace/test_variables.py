"""Which variables there are, and which names nobody may set."""

from __future__ import annotations

import pytest

from headrace.errors import InvalidError
from headrace.variables import PASSED_ON, check_settable, label_variable, objection

STEERING = ["LD_PRELOAD", "LD_LIBRARY_PATH", "DYLD_X", "PYTHONPATH", "LUA_CPATH", "OPENSSL_CONF", "ENV", "BASH_ENV"]


@pytest.mark.parametrize(
    ("key", "name"),
    [("role", "HEADRACE_LABEL_ROLE"), ("a.b/c-d_e", "HEADRACE_LABEL_A_B_C_D_E"), ("9", "HEADRACE_LABEL_9")],
)
def test_a_label_has_one_variable(key: str, name: str) -> None:
    assert label_variable(key) == name


@pytest.mark.parametrize("name", STEERING)
def test_a_name_that_an_engine_obeys_is_refused(name: str) -> None:
    assert f"variable {name!r} would change the engine itself" in objection(name)
    with pytest.raises(InvalidError, match="choose another name"):
        check_settable(name)


@pytest.mark.parametrize("name", ["ENVIRONMENT", "MY_LD_PRELOAD", "OPENSSL", "ld_preload", *sorted(PASSED_ON)])
def test_any_other_name_may_be_set(name: str) -> None:
    assert objection(name) == ""
    check_settable(name)


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("", "letters, digits"),
        ("9A", "no digit first"),
        ("A-B", "letters, digits"),
        ("Ä", "letters, digits"),
        ("A" * 129, "at most 128"),
        ("HEADRACE_AGENT", "the agent's own"),
        ("HEADRACE_LABEL_X", "the agent's own"),
    ],
)
def test_a_name_that_is_none_or_the_agents_own_is_refused(name: str, why: str) -> None:
    with pytest.raises(InvalidError, match=why):
        check_settable(name)
