"""A bootstrap token in the forms in which people hand it to an agent. Pure.

Each form holds the secret; none puts it into a process's arguments, which others on a host can read.
"""

from __future__ import annotations

import base64
import json
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum


class Form(StrEnum):
    """What `token create --format` takes."""

    FILE = "file"
    ENV = "env"
    COMMAND = "command"
    KUBERNETES_SECRET = "kubernetes-secret"
    CLOUD_INIT = "cloud-init"


@dataclass(frozen=True, slots=True, kw_only=True)
class Invitation:
    """All that an agent needs to enrol: a secret, and where to take it."""

    secret: str
    server: str
    ca: bytes = b""
    """The authorities (PEM) by which the agent is to know the server; empty where the usual ones, or none, do."""

    @property
    def environment(self) -> dict[str, str]:
        """As `headrace-agent run` reads it."""
        trust = {"HEADRACE_AGENT_TLS_CA_DATA": self.ca_data} if self.ca else {}
        return {"HEADRACE_AGENT_SERVER": self.server, **trust, "HEADRACE_AGENT_TOKEN": self.secret}

    @property
    def ca_data(self) -> str:
        """The authorities on one line."""
        return base64.b64encode(self.ca).decode("ascii")


def written(invitation: Invitation, form: Form) -> str:
    """The text of a form, without a newline at its end."""
    return _FORMS[form](invitation)


def _file(invitation: Invitation) -> str:
    return invitation.secret


def _env(invitation: Invitation) -> str:
    return "\n".join(f"{name}={shlex.quote(value)}" for name, value in invitation.environment.items())


def _command(invitation: Invitation) -> str:
    flags = ["--server", invitation.server, *(["--tls-ca-data", invitation.ca_data] if invitation.ca else [])]
    return f"HEADRACE_AGENT_TOKEN={shlex.quote(invitation.secret)} headrace-agent run {shlex.join(flags)}"


def _kubernetes_secret(invitation: Invitation) -> str:
    lines = [
        "apiVersion: v1",
        "kind: Secret",
        "metadata:",
        "  name: headrace-agent",
        "type: Opaque",
        "stringData:  # for envFrom: [{secretRef: {name: headrace-agent}}]",
    ]
    # A JSON text is a YAML one.
    return "\n".join([*lines, *(f"  {name}: {json.dumps(value)}" for name, value in invitation.environment.items())])


def _cloud_init(invitation: Invitation) -> str:
    unit = (
        "[Unit]\nDescription=Headrace agent\nWants=network-online.target\nAfter=network-online.target\n\n"
        "[Service]\nEnvironmentFile=/etc/headrace/agent.env\nExecStart=/usr/bin/env headrace-agent run\n"
        "Restart=always\nKillMode=mixed\n\n[Install]\nWantedBy=multi-user.target\n"
    )
    files = (
        ("/etc/headrace/agent.env", "0600", _env(invitation) + "\n"),
        ("/etc/systemd/system/headrace-agent.service", "0644", unit),
    )
    lines = ["#cloud-config", "write_files:"]
    for path, mode, text in files:
        lines += [f"  - path: {path}", f'    permissions: "{mode}"', "    owner: root:root"]
        lines += [f"    content: {json.dumps(text)}"]
    lines += ["runcmd:", "  - [systemctl, daemon-reload]", "  - [systemctl, enable, --now, headrace-agent.service]"]
    return "\n".join(lines)


_FORMS: Mapping[Form, Callable[[Invitation], str]] = {
    Form.FILE: _file,
    Form.ENV: _env,
    Form.COMMAND: _command,
    Form.KUBERNETES_SECRET: _kubernetes_secret,
    Form.CLOUD_INIT: _cloud_init,
}
