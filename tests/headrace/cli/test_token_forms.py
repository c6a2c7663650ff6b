"""The forms of a token are what the programs that take them read."""

from __future__ import annotations

import shlex
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from agent.cli import _parser
from agent.settings import SettingsError, load_tls
from headrace.cli.token_forms import Form, Invitation, written

INVITATION = Invitation(secret="hrb_t-1.s3cret", server="plane.example:8402")
ENVIRONMENT = {"HEADRACE_AGENT_SERVER": "plane.example:8402", "HEADRACE_AGENT_TOKEN": "hrb_t-1.s3cret"}


def environment(text: str) -> dict[str, str]:
    return dict(word.split("=", 1) for word in shlex.split(text))


@pytest.mark.parametrize("form", Form)
def test_every_form_holds_the_secret_once(form: Form) -> None:
    assert written(INVITATION, form).count(INVITATION.secret) == 1


def test_the_file_is_the_secret_alone() -> None:
    assert written(INVITATION, Form.FILE) == INVITATION.secret


def test_the_environment_is_what_the_agent_reads() -> None:
    read = environment(written(INVITATION, Form.ENV))
    assert read == ENVIRONMENT
    options = _parser(read).parse_args(["run"])
    assert (options.server, options.token) == (INVITATION.server, INVITATION.secret)


def test_the_command_is_a_whole_line_whose_arguments_hold_no_secret() -> None:
    given, *command = shlex.split(written(INVITATION, Form.COMMAND))
    assert command[:2] == ["headrace-agent", "run"]
    assert INVITATION.secret not in " ".join(command)
    options = _parser(environment(given)).parse_args(command[1:])
    assert (options.server, options.token) == (INVITATION.server, INVITATION.secret)


def test_the_kubernetes_secret_is_the_environment() -> None:
    document = yaml.safe_load(written(INVITATION, Form.KUBERNETES_SECRET))
    assert (document["kind"], document["type"], document["stringData"]) == ("Secret", "Opaque", ENVIRONMENT)


def test_whom_to_trust_goes_with_every_form_but_the_bare_file(tmp_path: Path) -> None:
    secure = replace(INVITATION, ca=b"-----BEGIN CERTIFICATE-----")
    given, *command = shlex.split(written(secure, Form.COMMAND))
    options = _parser(environment(given)).parse_args(command[1:])
    tls = load_tls(enabled=False, ca=None, certificate=None, key=None, ca_data=options.tls_ca_data)
    assert tls is not None
    assert tls.ca == secure.ca
    read = environment(written(secure, Form.ENV))
    assert _parser(read).parse_args(["run"]).tls_ca_data == options.tls_ca_data
    for form in (Form.KUBERNETES_SECRET, Form.CLOUD_INIT):
        assert options.tls_ca_data in written(secure, form)
    with pytest.raises(SettingsError, match="not base64"):
        load_tls(enabled=False, ca=None, certificate=None, key=None, ca_data="?")
    with pytest.raises(SettingsError, match="give one of them"):
        load_tls(enabled=False, ca=tmp_path / "ca.pem", certificate=None, key=None, ca_data=options.tls_ca_data)


def test_cloud_init_writes_a_private_environment_and_a_unit_that_reads_it() -> None:
    text = written(INVITATION, Form.CLOUD_INIT)
    assert text.startswith("#cloud-config\n")
    document = yaml.safe_load(text)
    private, unit = document["write_files"]
    assert private["permissions"] == "0600"
    assert environment(private["content"]) == ENVIRONMENT
    assert f"EnvironmentFile={private['path']}" in unit["content"]
    assert INVITATION.secret not in unit["content"]
