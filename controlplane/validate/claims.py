"""What a pipeline wants for itself alone on its host: ports and sockets, offset databases, output files. Pure."""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Literal

from controlplane.validate.source import Source, is_open
from headrace.config import Property, Section

Thing = Literal["port", "socket", "offset database", "output file"]

_PORTS: Mapping[tuple[str, str], tuple[str, int]] = MappingProxyType(
    {
        ("input", "collectd"): ("udp", 25826),
        ("input", "elasticsearch"): ("tcp", 9200),
        ("input", "forward"): ("tcp", 24224),
        ("input", "http"): ("tcp", 9880),
        ("input", "mqtt"): ("tcp", 1883),
        ("input", "opentelemetry"): ("tcp", 4318),
        ("input", "prometheus_remote_write"): ("tcp", 8080),
        ("input", "splunk"): ("tcp", 8088),
        ("input", "statsd"): ("udp", 8125),
        ("input", "syslog"): ("tcp", 5140),
        ("input", "tcp"): ("tcp", 5170),
        ("input", "udp"): ("udp", 5170),
        ("output", "prometheus_exporter"): ("tcp", 2021),
        ("output", "vivo_exporter"): ("tcp", 2025),
    }
)
"""The plugins that listen, each with its protocol and the port that it takes when none is given."""
_DATABASES: Mapping[tuple[str, str], str] = MappingProxyType(
    {
        ("input", "blob"): "database_file",
        ("input", "kubernetes_events"): "db",
        ("input", "systemd"): "db",
        ("input", "tail"): "db",
        ("output", "azure_blob"): "database_file",
        ("output", "s3"): "blob_database_file",
    }
)
_EVERYWHERE = frozenset({"0.0.0.0", "::", "[::]", "*", ""})


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """One thing that one section wants. `name` is a port or a path and may hold references, like `address`."""

    thing: Thing
    name: str
    protocol: str = ""
    address: str = ""
    section: Section
    option: str
    """The property that says so where it is given."""

    @property
    def given(self) -> Property | None:
        """None where the plugin's own default is what counts."""
        return self.section.find(self.option)

    @property
    def key(self) -> tuple[str, ...]:
        """Claims of different keys never conflict."""
        return self.thing, self.protocol, self.name

    @property
    def is_open(self) -> bool:
        """Whether only an agent knows what is wanted."""
        return is_open(self.name) or is_open(self.address)

    @property
    def is_shared(self) -> bool:
        """Whether other pipelines could want it: a relative path is one inside of the pipeline's own folder."""
        return self.thing == "port" or posixpath.isabs(self.name)

    @property
    def is_exclusive(self) -> bool:
        """Whether one engine, too, cannot have it twice."""
        return self.thing in ("port", "socket")

    def settled(self, value: Callable[[str], str]) -> Claim | None:
        """The claim with the value of its texts; None when it claims nothing after all."""
        name, address = value(self.name), value(self.address)
        if self.thing != "port":
            return replace(self, name=posixpath.normpath(name)) if name else None
        try:
            port = int(name)
        except ValueError:
            return None
        address = "127.0.0.1" if address == "localhost" else address
        return replace(self, name=str(port), address=address) if port else None

    def conflicts(self, other: Claim) -> bool:
        """Whether one host cannot give both what they want; both settled."""
        if self.key != other.key:
            return False
        addresses = {self.address, other.address}
        return self.thing != "port" or len(addresses) == 1 or bool(addresses & _EVERYWHERE)

    def __str__(self) -> str:
        return f"{self.protocol} {self.thing} {self.name}" if self.thing == "port" else f"{self.thing} {self.name!r}"


def claims_of(source: Source) -> Iterator[Claim]:
    """Every claim in a configuration; those that are not open are settled."""
    for claim in _as_written(source):
        settled = claim if claim.is_open else claim.settled(str)
        if settled is not None:
            yield settled


def _as_written(source: Source) -> Iterator[Claim]:
    for section in source.plugins():
        key = section.kind, (section.name or "").lower()
        if key in _PORTS:
            yield _listener(section, *_PORTS[key])
        elif key in _DATABASES and (path := _text(section, _DATABASES[key])):
            yield Claim(thing="offset database", name=path, section=section, option=_DATABASES[key])
        elif key == ("output", "file"):
            yield from _output_file(section)


def _listener(section: Section, protocol: str, default: int) -> Claim:
    """Two plugins listen on a socket in the file system where they are told to."""
    name = (section.name or "").lower()
    if name == "syslog":
        mode = (_text(section, "mode") or "unix_udp").lower()
        if mode.startswith("unix"):
            return Claim(thing="socket", name=_text(section, "path"), section=section, option="path")
        protocol = "udp" if mode == "udp" else "tcp"
    elif name == "forward" and (path := _text(section, "unix_path")):
        return Claim(thing="socket", name=path, section=section, option="unix_path")
    port = _text(section, "port") or str(default)
    address = _text(section, "listen" if section.kind == "input" else "host") or "0.0.0.0"
    return Claim(thing="port", protocol=protocol, name=port, address=address, section=section, option="port")


def _output_file(section: Section) -> Iterator[Claim]:
    """A name that is made of the tag, the record or the time is no fixed one."""
    path = posixpath.join(_text(section, "path"), _text(section, "file"))
    if _text(section, "file") and not {"$", "%"} & set(path.replace("${", "{")):
        yield Claim(thing="output file", name=path, section=section, option="file")


def _text(section: Section, name: str) -> str:
    value = section.get(name)
    return value if isinstance(value, str) else ""
