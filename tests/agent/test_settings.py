"""Settings: what wins over what, and what is refused by name."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent.policy import DENIED_AS_ROOT, Policy
from agent.settings import Settings, SettingsError, default_data_dir, load_policy, load_tls, parse_labels
from headrace.security import ClientTls


def policy(path: Path | None = None, *, is_root: bool = False, **flags: tuple[str, ...]) -> Policy:
    flags = {"allow_plugins": (), "deny_plugins": (), "paths": ()} | flags
    return load_policy(path, is_root=is_root, **flags)


def test_a_token_file_is_read_each_time(tmp_path: Path) -> None:
    path = tmp_path / "token"
    settings = Settings(data_dir=tmp_path, token="flag", token_file=path)
    with pytest.raises(SettingsError, match=f"token file {path} cannot be read"):
        settings.bootstrap_token()
    path.write_text(" one\n")
    assert settings.bootstrap_token() == "one"
    path.write_text("two")
    assert settings.bootstrap_token() == "two"
    assert Settings(data_dir=tmp_path, token="flag").bootstrap_token() == "flag"
    assert "flag" not in repr(settings)


def test_flags_add_to_the_policy_file(tmp_path: Path) -> None:
    path = tmp_path / "policy.yaml"
    path.write_text("deny_plugins: [tcp]\nread: [/var/log]\ndestinations: ['*.example.com']\nmemory: 1G\n")
    got = policy(path, deny_plugins=("udp",), paths=("/srv",))
    assert got == Policy(
        deny_plugins=("tcp", "udp"),
        read=("/var/log", "/srv"),
        write=("/srv",),
        destinations=("*.example.com",),
        memory=10**9,
    )


def test_root_may_not_run_code_unless_it_is_allowed() -> None:
    assert policy(is_root=True).deny_plugins == DENIED_AS_ROOT
    assert policy(is_root=True, allow_plugins=("exec",)).allow_plugins == ("exec",)
    assert policy().deny_plugins == ()


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("deny: [x]\n", "unknown rule 'deny'"),
        ("read: /var\n", "rule 'read' must be a list"),
        ("- x\n", "unknown rule ''"),
        ("a: [\n", "policy"),
    ],
)
def test_a_policy_file_that_is_wrong_is_refused(tmp_path: Path, text: str, reason: str) -> None:
    path = tmp_path / "policy.yaml"
    path.write_text(text)
    with pytest.raises(SettingsError, match=reason):
        policy(path)
    with pytest.raises(SettingsError, match="cannot be read"):
        policy(tmp_path / "none")


def test_tls_is_asked_for_by_any_of_its_flags(tmp_path: Path) -> None:
    pem = tmp_path / "x.pem"
    pem.write_text("PEM")
    assert load_tls(enabled=False, ca=None, certificate=None, key=None) is None
    assert load_tls(enabled=True, ca=None, certificate=None, key=None) == ClientTls()
    assert load_tls(enabled=False, ca=pem, certificate=None, key=None) == ClientTls(ca=b"PEM")
    both = load_tls(enabled=False, ca=None, certificate=pem, key=pem)
    assert both == ClientTls(certificate=b"PEM", key=b"PEM")
    with pytest.raises(SettingsError, match="--tls-key"):
        load_tls(enabled=False, ca=None, certificate=pem, key=None)
    with pytest.raises(SettingsError, match=r"none\.pem cannot be read"):
        load_tls(enabled=False, ca=tmp_path / "none.pem", certificate=None, key=None)


def test_labels_are_pairs() -> None:
    assert parse_labels(("role=edge", "team/zone=a", "empty=")) == {"role": "edge", "team/zone": "a", "empty": ""}
    for wrong in ("role", "=x", "a b=c", "a=b c"):
        with pytest.raises(SettingsError, match="label"):
            parse_labels((wrong,))


def test_the_data_folder_is_the_users_own_unless_it_is_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    assert default_data_dir({"XDG_STATE_HOME": "/s"}) == Path("/s/headrace-agent")
    assert default_data_dir({"HOME": "/h"}) == Path("/h/.local/state/headrace-agent")
    monkeypatch.setattr("os.geteuid", lambda: 0)
    assert default_data_dir({"HOME": "/h"}) == Path("/var/lib/headrace-agent")
