"""Where a client finds the control plane and its token."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from headrace import local
from headrace.errors import InvalidError
from headrace.local import Endpoint


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    return {"HOME": str(tmp_path)}


def configure(environment: dict[str, str], text: str) -> Path:
    path = local.config_file(environment=environment)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_without_anything_it_is_the_default_address_and_no_token(environment: dict[str, str]) -> None:
    assert local.find(environment=environment) == Endpoint(address="127.0.0.1:8401")


def test_what_is_given_wins_over_environment_over_config_file(environment: dict[str, str]) -> None:
    configure(environment, "server: file:1\ntoken: of the file\n")
    assert local.find(environment=environment) == Endpoint(address="file:1", token="of the file")
    environment |= {"HEADRACE_SERVER": "env:1", "HEADRACE_TOKEN": "of the environment"}
    assert local.find(environment=environment) == Endpoint(address="env:1", token="of the environment")
    given = local.find(address="given:1", token="given", environment=environment)
    assert given == Endpoint(address="given:1", token="given")


def test_the_token_of_the_config_file_goes_to_its_server_alone(environment: dict[str, str]) -> None:
    configure(environment, "server: file:1\ntoken: secret\n")
    assert local.find(address="elsewhere:1", environment=environment) == Endpoint(address="elsewhere:1")


def test_the_files_of_tls_are_those_of_the_server_that_is_named_with_them(environment: dict[str, str]) -> None:
    folder = configure(environment, "server: file:1\nca: ca.pem\ncertificate: ~/ann.pem\nkey: ann.key\n").parent
    found = local.find(environment=environment)
    assert found == Endpoint(address="file:1", ca="ca.pem", certificate="~/ann.pem", key="ann.key")
    assert local.find(address="elsewhere:1", environment=environment).tls() is None
    for name in ("ca.pem", "ann.pem", "ann.key"):
        (folder / name).write_text(name)
    here = {name: str(folder / getattr(found, name).removeprefix("~/")) for name in ("ca", "certificate", "key")}
    tls = Endpoint(address="file:1", **here).tls()
    assert tls is not None
    assert (tls.ca, tls.certificate, tls.key) == (b"ca.pem", b"ann.pem", b"ann.key")
    (folder / "ann.key").unlink()
    with pytest.raises(InvalidError, match=r"ann\.key, which the config file names, cannot be read: No such file"):
        Endpoint(address="file:1", **here).tls()


def test_a_local_plane_leaves_its_token_for_its_owner_alone(environment: dict[str, str]) -> None:
    path = local.write_token(9401, "secret", environment=environment)
    assert path == Path(environment["HOME"]) / ".local/state/headrace/9401.token"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    for address in ("127.0.0.1:9401", "localhost:9401", "[::1]:9401"):
        assert local.find(address=address, environment=environment) == Endpoint(address=address, token="secret")
    assert local.find(address="192.0.2.1:9401", environment=environment).token == ""
    assert local.find(address="127.0.0.1:9402", environment=environment).token == ""


def test_the_folders_of_xdg_are_honoured(tmp_path: Path) -> None:
    environment = {"XDG_STATE_HOME": str(tmp_path / "s"), "XDG_CONFIG_HOME": str(tmp_path / "c"), "HOME": "/nowhere"}
    assert local.write_token(1, "t", environment=environment) == tmp_path / "s/headrace/1.token"
    assert local.config_file(environment=environment) == tmp_path / "c/headrace/config.yaml"


def test_a_stop_removes_its_own_token_and_not_a_successors(environment: dict[str, str]) -> None:
    path = local.write_token(9401, "first", environment=environment)
    local.write_token(9401, "second", environment=environment)
    local.remove_token(9401, "first", environment=environment)
    assert path.read_text() == "second\n"
    local.remove_token(9401, "second", environment=environment)
    assert not path.exists()
    local.remove_token(9401, "second", environment=environment)


def test_a_write_that_fails_leaves_no_half_written_file(
    environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = local.write_token(9401, "first", environment=environment)

    def fail(self: Path, target: Path) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(OSError, match="disk full"):
        local.write_token(9401, "second", environment=environment)
    assert os.listdir(path.parent) == ["9401.token"]
    assert path.read_text() == "first\n"


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("server: [", "cannot be read"),
        ("- server", "is not a mapping"),
        ("sever: a:1", "'sever' is not known; there are 'server', 'token', 'ca', 'certificate' and 'key'"),
        ("certificate: c.pem", "'certificate' and 'key' go together"),
        ("token: 7", "'token' is not text; put it in quotes"),
    ],
)
def test_a_bad_config_file_is_named_with_what_is_wrong(environment: dict[str, str], text: str, why: str) -> None:
    path = configure(environment, text)
    with pytest.raises(InvalidError, match=why) as caught:
        local.find(environment=environment)
    assert str(path) in caught.value.message


def test_an_empty_config_file_is_none(environment: dict[str, str]) -> None:
    configure(environment, "# nothing yet\n")
    assert local.find(environment=environment).address == local.DEFAULT_ADDRESS


def test_a_bad_address_is_said(environment: dict[str, str]) -> None:
    with pytest.raises(InvalidError, match="is not host:port"):
        local.find(address="nonsense", environment=environment)
