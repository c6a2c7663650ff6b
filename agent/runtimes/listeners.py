"""The ports that a configuration listens on, from the defaults of Fluent Bit's own plugins. Pure.

So a port that somebody else holds is known before an engine is touched.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from headrace.config import Document, Section

Protocol = Literal["tcp", "udp"]


@dataclass(frozen=True, slots=True)
class Listener:
    """One port that a plugin will bind."""

    plugin: str
    host: str
    port: int
    protocol: Protocol = "tcp"


_INPUTS: dict[str, tuple[int, Protocol]] = {
    "collectd": (25826, "udp"),
    "elasticsearch": (9200, "tcp"),
    "forward": (24224, "tcp"),
    "http": (9880, "tcp"),
    "mqtt": (1883, "tcp"),
    "opentelemetry": (4318, "tcp"),
    "prometheus_remote_write": (8080, "tcp"),
    "splunk": (8088, "tcp"),
    "statsd": (8125, "udp"),
    "syslog": (5140, "udp"),
    "tcp": (5170, "tcp"),
    "udp": (5170, "udp"),
}
_OUTPUTS: dict[str, tuple[int, Protocol]] = {
    "prometheus_exporter": (2021, "tcp"),
    "vivo_exporter": (2025, "tcp"),
}
_UNIX_MODES = ("unix_tcp", "unix_udp")


def listeners(document: Document) -> tuple[Listener, ...]:
    """Every port that the configuration, its variables filled in, will bind."""
    found = (listener_of(section) for section in (*document.inputs, *document.outputs))
    return tuple(each for each in found if each is not None)


def listener_of(section: Section) -> Listener | None:
    """The port that one plugin instance will bind, if any."""
    name = (section.name or "").lower()
    defaults = _OUTPUTS if section.kind == "output" else _INPUTS
    if name not in defaults or section.get("unix_path"):
        return None
    port, protocol = defaults[name]
    mode = str(section.get("mode", "unix_udp")).lower() if name == "syslog" else ""
    if mode in _UNIX_MODES:
        return None
    text = str(section.get("port", port))
    if not (text.isdigit() and 0 < int(text) < 65536):
        return None
    host = str(section.get("host" if section.kind == "output" else "listen", "0.0.0.0"))  # what Fluent Bit binds
    return Listener(name, host, int(text), "tcp" if mode == "tcp" else protocol)
