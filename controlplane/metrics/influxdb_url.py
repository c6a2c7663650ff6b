"""What `--metrics influxdb://…` says: where the server is, as whom, and how. Pure.

`influxdb://[USER:PASSWORD@]HOST[:PORT]/DATABASE`, or `influxdbs://` for TLS. Parameters: `api` (1, 2 or 3; found out
when it is not given), `token`, `org`, `bucket` (in place of the database), `retention` (of a database that is made
here, such as 90d; 0 is for ever), `ca` (a file of certificates to trust).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, unquote, urlsplit

from headrace.errors import InvalidError

DEFAULT_PORT = 8086
DEFAULT_RETENTION_H = 90 * 24

_FORM = "influxdb://[user:password@]HOST:PORT/DATABASE"
_PARAMETERS = ("api", "token", "org", "bucket", "retention", "ca")


@dataclass(frozen=True, slots=True, kw_only=True)
class InfluxSettings:
    """A server and a database there; `api` 0 is found out. Secrets are not in its repr."""

    host: str
    database: str
    port: int = DEFAULT_PORT
    tls: bool = False
    user: str = ""
    password: str = field(default="", repr=False)
    token: str = field(default="", repr=False)
    org: str = ""
    api: int = 0
    retention_h: int = DEFAULT_RETENTION_H
    ca: str = ""

    @property
    def address(self) -> str:
        """The URL of the server."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'https' if self.tls else 'http'}://{host}:{self.port}"

    @property
    def place(self) -> str:
        """For people: where, and nothing that is secret."""
        return f"{self.address}/{self.database}"


def parse(url: str) -> InfluxSettings:
    """The settings of a URL. Raises InvalidError, which never quotes a secret."""
    try:
        parts = urlsplit(url)
        port = parts.port or DEFAULT_PORT
    except ValueError:
        raise InvalidError(f"metric store: host and port are not understood; give {_FORM}") from None
    given = dict(parse_qsl(parts.query, keep_blank_values=True))
    if unknown := [key for key in given if key not in _PARAMETERS]:
        raise InvalidError(f"metric store: {unknown[0]!r} is not understood; there are {', '.join(_PARAMETERS)}")
    database = given.get("bucket") or unquote(parts.path.strip("/"))
    if not parts.hostname or not database or "/" in database or not database.isprintable():
        raise InvalidError(f"metric store: give {_FORM}, or ?bucket= in place of the database")
    if given.get("api", "0") not in ("0", "1", "2", "3"):
        raise InvalidError(f"metric store: api is 1, 2 or 3, not {given['api']!r}")
    if any(not secret.isascii() or not secret.isprintable() for secret in (given.get("token", ""),)):
        raise InvalidError("metric store: a token is printable ASCII")
    return InfluxSettings(
        host=parts.hostname,
        port=port,
        database=database,
        tls=parts.scheme == "influxdbs",
        user=unquote(parts.username or ""),
        password=unquote(parts.password or ""),
        token=given.get("token", ""),
        org=given.get("org", ""),
        api=int(given.get("api", "0")),
        retention_h=_hours(given["retention"]) if "retention" in given else DEFAULT_RETENTION_H,
        ca=given.get("ca", ""),
    )


def _hours(text: str) -> int:
    if not (match := re.fullmatch(r"(\d{1,6})([hd]?)", text)) or (not match[2] and int(match[1])):
        raise InvalidError(f"metric store: retention is such as 90d or 48h, or 0 for ever, not {text!r}")
    return int(match[1]) * (24 if match[2] == "d" else 1)
