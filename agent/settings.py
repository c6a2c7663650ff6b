"""The agent's settings: defaults, over them the environment (`HEADRACE_AGENT_…`), over that the command line.

Reads the files that the settings name, and nothing else.
"""

from __future__ import annotations

import base64
import os
import platform
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import yaml

from agent.errors import AgentError
from agent.policy import DENIED_AS_ROOT, Policy, policy_of
from headrace.errors import InvalidError
from headrace.names import validate_label_key, validate_label_value
from headrace.security import ClientTls
from headrace.types import Engine

NO_POLICY = Policy()
DEFAULT_DATA_DIR = Path("/var/lib/headrace-agent")
PROJECTED = Path("/var/run/secrets/headrace/token")
"""Where a manifest of ours has the cluster put a service account's token."""


class SettingsError(AgentError):
    """A setting that cannot be used."""

    code = "invalid"


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Where the control plane is, who this agent is, and what it may do."""

    data_dir: Path
    server: str = ""
    token: str = field(default="", repr=False)
    token_file: Path | None = None
    kubernetes_token_file: Path | None = None
    """Of a service account, for the control plane's audience; the cluster renews it."""
    name: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    engine: Engine = Engine.AUTO
    fluent_bit: Path | None = None
    policy: Policy = NO_POLICY
    tls: ClientTls | None = None
    insecure: bool = False
    max_applies: int = 4
    settle_s: float = 5.0
    sample_s: float | None = None
    """None: as often as the control plane says."""
    spool_bytes: int = 64 << 20
    metrics: str = ""
    log_format: str = "auto"

    def bootstrap_token(self) -> str:
        """The token as it is now: its file may be renewed while the agent runs. Empty when there is none."""
        if self.token_file is None:
            return self.token
        try:
            return self.token_file.read_text(errors="replace").strip()
        except OSError as error:
            raise SettingsError(f"token file {self.token_file} cannot be read: {error.strerror}") from error

    def kubernetes_token(self) -> str:
        """As it is now; empty when there is none."""
        if self.kubernetes_token_file is None:
            return ""
        try:
            return self.kubernetes_token_file.read_text(errors="replace").strip()
        except OSError as error:
            raise SettingsError(
                f"service-account token {self.kubernetes_token_file} cannot be read: {error.strerror}"
            ) from error


def default_data_dir(environment: Mapping[str, str]) -> Path:
    """A system folder for root, else one of the user's own."""
    if os.geteuid() == 0:
        return DEFAULT_DATA_DIR
    state = environment.get("XDG_STATE_HOME") or str(Path(environment.get("HOME", ".")) / ".local" / "state")
    return Path(state) / "headrace-agent"


def default_name(environment: Mapping[str, str]) -> str:
    """The node's name in a cluster, else the host's."""
    return environment.get("NODE_NAME") or socket.gethostname() or platform.node() or "agent"


def load_policy(
    path: Path | None,
    *,
    allow_plugins: tuple[str, ...],
    deny_plugins: tuple[str, ...],
    paths: tuple[str, ...],
    is_root: bool,
) -> Policy:
    """The policy of a file, made tighter or wider by flags; what runs code is denied to root unless allowed by name."""
    policy = Policy()
    if path is not None:
        try:
            document = yaml.safe_load(path.read_text()) or {}
            policy = policy_of(document if isinstance(document, dict) else {"": document})
        except OSError as error:
            raise SettingsError(f"policy {path} cannot be read: {error.strerror}") from error
        except (ValueError, yaml.YAMLError) as error:
            raise SettingsError(f"policy {path}: {error}") from error
    return replace(
        policy,
        allow_plugins=(*policy.allow_plugins, *allow_plugins),
        deny_plugins=(*policy.deny_plugins, *deny_plugins, *(DENIED_AS_ROOT if is_root else ())),
        read=(*policy.read, *paths),
        write=(*policy.write, *paths),
    )


def load_tls(
    *, enabled: bool, ca: Path | None, certificate: Path | None, key: Path | None, ca_data: str = ""
) -> ClientTls | None:
    """None without TLS; any of the files, or the authorities in base64, asks for it. Raises SettingsError."""
    if not (enabled or ca or certificate or key or ca_data):
        return None
    if ca and ca_data:
        raise SettingsError("--tls-ca and --tls-ca-data both say whom to trust; give one of them")
    if bool(certificate) != bool(key):
        raise SettingsError("a client certificate needs both --tls-cert and --tls-key")
    try:
        read = [path.read_bytes() if path else b"" for path in (ca, certificate, key)]
    except OSError as error:
        raise SettingsError(f"TLS file {error.filename} cannot be read: {error.strerror}") from error
    if ca_data:
        try:
            read[0] = base64.b64decode(ca_data, validate=True)
        except ValueError as error:
            raise SettingsError(f"--tls-ca-data is not base64: {error}") from error
    return ClientTls(ca=read[0], certificate=read[1], key=read[2])


def parse_labels(pairs: tuple[str, ...]) -> dict[str, str]:
    """`k=v` each. Raises SettingsError."""
    labels: dict[str, str] = {}
    for pair in pairs:
        key, separator, value = pair.partition("=")
        if not separator:
            raise SettingsError(f"label {pair!r} must be KEY=VALUE")
        try:
            labels[validate_label_key(key)] = validate_label_value(value)
        except InvalidError as error:
            raise SettingsError(f"label {pair!r}: {error.message}") from error
    return labels
