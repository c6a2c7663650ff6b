"""Where a management client finds the address and the token when nobody says: environment, config file, token file.

Address: `HEADRACE_SERVER`, else `server:` in the config file (`$XDG_CONFIG_HOME or ~/.config`/headrace/config.yaml),
else 127.0.0.1:8401. Token: `HEADRACE_TOKEN`, else `token:` there (for the server named there only), else, on loopback,
the file that the control plane writes: `$XDG_STATE_HOME or ~/.local/state`/headrace/<port>.token, which its owner alone
may read; so another user of the host is nobody. TLS files of that server are named there too: `ca:`, `certificate:`,
`key:`.
"""

from __future__ import annotations

import hmac
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from headrace.errors import InvalidError
from headrace.location import parse_location
from headrace.security import ClientTls

DEFAULT_ADDRESS = "127.0.0.1:8401"
_FILES = ("ca", "certificate", "key")
_KNOWN = "'server', 'token', 'ca', 'certificate' and 'key'"


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """A management API, the token for it (empty where none was found), and the TLS files that the config file names."""

    address: str
    token: str = ""
    ca: str = ""
    certificate: str = ""
    key: str = ""

    def tls(self) -> ClientTls | None:
        """What the files hold; None without any. Raises InvalidError for one that cannot be read."""
        if not (self.ca or self.certificate):
            return None
        return ClientTls(ca=_pem(self.ca), certificate=_pem(self.certificate), key=_pem(self.key))


def find(*, address: str = "", token: str = "", environment: Mapping[str, str] | None = None) -> Endpoint:
    """What is given wins, then environment, config file, and token file.

    Raises InvalidError for a config file or an address that cannot be read.
    """
    environment = os.environ if environment is None else environment
    config = _config(config_file(environment=environment))
    address = address or environment.get("HEADRACE_SERVER", "") or config.get("server", "") or DEFAULT_ADDRESS
    token = token or environment.get("HEADRACE_TOKEN", "")
    if address != config.get("server", DEFAULT_ADDRESS):
        config = {}
    token = token or config.get("token", "")
    where = parse_location(address).address
    if not token and where.is_local and not where.unix:
        token = _read(token_file(where.port, environment=environment))
    return Endpoint(address=address, token=token, **{name: config.get(name, "") for name in _FILES})


def config_file(*, environment: Mapping[str, str] | None = None) -> Path:
    """A small YAML file that people write: `server`, `token`, and paths of TLS files."""
    return _folder(environment, "XDG_CONFIG_HOME", ".config") / "config.yaml"


def token_file(port: int, *, environment: Mapping[str, str] | None = None) -> Path:
    """Where the token of the control plane on this loopback port is."""
    return _folder(environment, "XDG_STATE_HOME", ".local/state") / f"{port}.token"


def write_token(port: int, token: str, *, environment: Mapping[str, str] | None = None) -> Path:
    """Writes it, 0600 in a folder 0700, by atomic replace; returns the path. The control plane calls this."""
    path = token_file(port, environment=environment)
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{port}.")  # made 0600
    try:
        with os.fdopen(handle, "w") as file:
            file.write(token + "\n")
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    return path


def remove_token(port: int, token: str, *, environment: Mapping[str, str] | None = None) -> None:
    """Removes it if it still holds this token, and not that of a successor; for an orderly stop."""
    path = token_file(port, environment=environment)
    if hmac.compare_digest(_read(path).encode(), token.encode()):
        path.unlink(missing_ok=True)


def _folder(environment: Mapping[str, str] | None, variable: str, default: str) -> Path:
    environment = os.environ if environment is None else environment
    named = environment.get(variable, "")
    home = environment.get("HOME", "") or str(Path.home())
    return (Path(named) if named else Path(home) / default) / "headrace"


def _read(path: Path) -> str:
    try:
        return path.read_text().strip()
    except (OSError, UnicodeDecodeError):
        return ""


def _pem(path: str) -> bytes:
    try:
        return Path(path).expanduser().read_bytes() if path else b""
    except OSError as error:
        raise InvalidError(f"{path}, which the config file names, cannot be read: {error.strerror}") from error


def _config(path: Path) -> dict[str, str]:
    try:
        document: Any = yaml.safe_load(path.read_text())
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise InvalidError(f"{path} cannot be read: {error}") from error
    if document is None:
        return {}
    if not isinstance(document, dict):
        raise InvalidError(f"{path} is not a mapping of {_KNOWN}")
    for key, value in document.items():
        if key not in ("server", "token", *_FILES):
            raise InvalidError(f"{path}: {key!r} is not known; there are {_KNOWN}")
        if not isinstance(value, str):
            raise InvalidError(f"{path}: {key!r} is not text; put it in quotes")
    if ("certificate" in document) != ("key" in document):
        raise InvalidError(f"{path}: 'certificate' and 'key' go together")
    return document
