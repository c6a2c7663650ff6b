"""The ports that a configuration listens on, from the defaults of Fluent Bit's own plugins. Pure.

So a port that somebody else holds is known before an engine is touched.
"""

from __future__ import annotations

from collections.abc import Iterator
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
    inputs = (each for section in document.inputs for each in _of(section, _INPUTS))
    outputs = (each for section in document.outputs for each in _of(section, _OUTPUTS))
    return (*inputs, *outputs)


def _of(section: Section, defaults: dict[str, tuple[int, Protocol]]) -> Iterator[Listener]:
    name = (section.name or "").lower()
    if name not in defaults or section.get("unix_path"):
        return
    port, protocol = defaults[name]
    mode = str(section.get("mode", "")).lower() if name == "syslog" else ""
    if mode in _UNIX_MODES:
        return
    text = str(section.get("port", port))
    if text.isdigit() and 0 < int(text) < 65536:
        host = str(section.get("listen", section.get("host", "0.0.0.0")))  # what Fluent Bit binds
        yield Listener(name, host, int(text), "tcp" if mode == "tcp" else protocol)
