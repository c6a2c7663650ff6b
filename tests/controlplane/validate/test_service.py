"""The service section."""

from __future__ import annotations

import pytest

from tests.controlplane.validate.fleet import inputs, manifest, said


def service(keys: str) -> list[str]:
    return said(manifest(f"service: {{{keys}}}\n" + inputs("name: dummy, tag: t")))


@pytest.mark.parametrize(
    "keys", ["flush: '0.5'", "Grace: '5', log_level: debug", "flush: '${TZ}'", "storage.sync: full"]
)
def test_what_is_the_users_own_is_not_mentioned(keys: str) -> None:
    assert service(keys) == []


def test_an_unknown_key_would_be_ignored_so_it_is_a_warning() -> None:
    (found,) = service("flsh: '5'")
    assert found.startswith("warning edge:1:")
    assert "service key 'flsh' is not known, and would be ignored; did you mean 'flush'?" in found


@pytest.mark.parametrize(
    ("keys", "reason"),
    [
        ("flush: soon", "'soon' is not a number"),
        ("grace: 5s", "'5s' is not a whole number"),
        ("log_level: loud", "'loud' is none of"),
        ("storage.metrics: maybe", "'maybe' is not a boolean"),
    ],
)
def test_a_bad_value_is_a_warning(keys: str, reason: str) -> None:
    (found,) = service(keys)
    assert found.startswith("warning ")
    assert reason in found


@pytest.mark.parametrize(
    ("keys", "key"),
    [
        ("http_port: '2021'", "http_port"),
        ("http_server: off", "http_server"),
        ("hot_reload: off", "hot_reload"),
        ("storage.path: /x", "storage.path"),
        ("daemon: on", "daemon"),
    ],
)
def test_what_management_replaces_is_noted_and_refuses_nothing(keys: str, key: str) -> None:
    (found,) = service(keys)
    assert found.startswith("note edge:1:")
    assert f"service key '{key}' is managed" in found


@pytest.mark.parametrize("keys", ["http_server: on", "health_check: yes", "hot_reload: true", "daemon: off"])
def test_what_management_would_say_too_is_not_mentioned(keys: str) -> None:
    assert service(keys) == []
