"""A plugin catalogue, as engines print it with `-J`: which plugins there are, and which properties each takes. Pure.

It comes from agents, so nothing in it is taken for granted: what has not the expected shape is as if it were not there.
Properties are looked up on demand; a catalogue has thousands, a pipeline a few.

The real Fluent Bit takes some properties before a plugin sees them, and does not print those: they are listed here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from headrace.config.model import Kind
from headrace.types import Engine

_LISTS: Mapping[str, tuple[str, ...]] = {
    "custom": ("customs",),
    "input": ("inputs",),
    "processor": ("processors", "filters"),
    "filter": ("filters",),
    "output": ("outputs",),
}
"""Where the plugins of a kind are; filters may be processors, too."""

_TLS = {
    "tls": "boolean",
    "tls.verify": "boolean",
    "tls.verify_hostname": "boolean",
    "tls.debug": "integer",
    **dict.fromkeys(
        ("tls.vhost", "tls.ca_path", "tls.ca_file", "tls.crt_file", "tls.key_file", "tls.key_passwd"), "string"
    ),
    **dict.fromkeys(("tls.min_version", "tls.max_version", "tls.ciphers"), "string"),
}
_PROXY = {
    **dict.fromkeys(("tls.proxy.verify", "tls.proxy.verify_hostname"), "boolean"),
    **dict.fromkeys(("tls.proxy.ca_path", "tls.proxy.ca_file"), "string"),
}
_HOST = {"host": "string", "port": "integer", "ipv6": "boolean"}
_NESTED = {"routes": "", "telemetry": ""}
_UNPRINTED: Mapping[str, Mapping[str, str]] = {
    "input": {**_HOST, **_TLS, "listen": "string", "tls.verify_client_cert": "boolean"} | _NESTED,
    "output": {**_HOST, **_TLS, **_PROXY, "workers": "integer", "storage.total_limit_size": "string"},
}
_UNPRINTED_EVERYWHERE = {"active": "string", "condition": "string"}
_UNPRINTED_PREFIXES = ("oauth2.", "_debug.http.")
_HTTP_SERVER = {
    "http_server.http2": {
        "buffer_max_size": "size",
        "buffer_chunk_size": "size",
        "max_connections": "integer",
        "workers": "integer",
    }
}
"""Short names that a plugin has if it has the property that is the key here."""


@dataclass(frozen=True, slots=True)
class Option:
    """A property that a plugin takes; `type` is the catalogue's own word."""

    type: str
    required: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Plugin:
    """What one plugin takes. `takes_any`: its properties are its own secret."""

    options: Mapping[str, Option]
    prefixes: tuple[str, ...] = ()
    takes_any: bool = False

    def option(self, name: str) -> Option | None:
        """What is known of a property, None for one that the plugin does not take."""
        if name in self.options:
            return self.options[name]
        if self.takes_any or any(name.startswith(prefix) and name != prefix for prefix in self.prefixes):
            return Option("string")
        return None


class Catalogue:
    """The plugins of one engine, looked up by kind and name, both without regard to case."""

    def __init__(self, parsed: Any, engine: Engine) -> None:
        self._engine = engine
        self._printed = {
            kind: {_name(plugin): plugin for listed in reversed(lists) for plugin in _dicts(_get(parsed, listed))}
            for kind, lists in _LISTS.items()
        }
        self._known: dict[tuple[str, str], Plugin] = {}

    def names(self, kind: Kind) -> tuple[str, ...]:
        """The plugins of a kind."""
        return tuple(self._printed[kind])

    def plugin(self, kind: Kind, name: str) -> Plugin | None:
        """What a plugin takes; None when there is none of that name."""
        printed = self._printed[kind].get(name.lower())
        if printed is None:
            return None
        key = kind, name.lower()
        if key not in self._known:
            self._known[key] = self._plugin(kind, printed)
        return self._known[key]

    def _plugin(self, kind: Kind, printed: Mapping[str, Any]) -> Plugin:
        properties = _get(printed, "properties")
        lists = properties.values() if isinstance(properties, dict) else ()
        options: dict[str, Option] = {}
        prefixes: list[str] = []
        for option in (option for listed in lists for option in _dicts(listed)):
            name, type_ = _name(option), str(option.get("type", ""))
            if type_ == "prefixed string":
                prefixes.append(name)
            elif name:
                options[name] = Option(type_, required=option.get("required") is True)
        if self._engine is Engine.FLUENT_BIT:
            prefixes += _UNPRINTED_PREFIXES
            unprinted = {**_UNPRINTED.get(kind, {}), **_UNPRINTED_EVERYWHERE}
            for sign, short in _HTTP_SERVER.items():
                unprinted |= short if sign in options else {}
            options = {name: Option(type_) for name, type_ in unprinted.items()} | options
        takes_any = not isinstance(properties, dict) or "options" not in properties
        return Plugin(options=options, prefixes=tuple(prefixes), takes_any=takes_any)


def _get(parsed: Any, key: str) -> Any:
    return parsed.get(key) if isinstance(parsed, dict) else None


def _dicts(listed: Any) -> Iterator[dict[str, Any]]:
    return (each for each in listed if isinstance(each, dict)) if isinstance(listed, list) else iter(())


def _name(printed: Mapping[str, Any]) -> str:
    return str(printed.get("name", "")).lower()
