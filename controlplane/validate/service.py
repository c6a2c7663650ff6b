"""The service section: keys that mean nothing, values of the wrong type, and keys that are managed. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import MappingProxyType

from controlplane.validate.findings import Finding, note, warning
from controlplane.validate.source import Source, is_open, texts_of
from controlplane.validate.values import objection
from headrace.config import did_you_mean, parse_bool

_KEYS: Mapping[str, str] = MappingProxyType(
    {
        **dict.fromkeys(("flush", "flush.adaptive.min_interval", "flush.adaptive.max_interval"), "double"),
        **dict.fromkeys(("flush.adaptive.low_pressure", "flush.adaptive.medium_pressure"), "double"),
        "flush.adaptive.high_pressure": "double",
        **dict.fromkeys(("flush.adaptive.up_steps", "flush.adaptive.down_steps", "grace"), "integer"),
        **dict.fromkeys(("hc_errors_count", "hc_retry_failure_count", "hc_period"), "integer"),
        **dict.fromkeys(("storage.max_chunks_up", "scheduler.cap", "scheduler.base"), "integer"),
        **dict.fromkeys(("hot_reload.timeout", "windows.maxstdio"), "integer"),
        **dict.fromkeys(("flush.adaptive", "daemon", "http_server", "health_check", "hot_reload"), "boolean"),
        **dict.fromkeys(("json.convert_nan_to_null", "json.escape_unicode", "security.fips_mode"), "boolean"),
        **dict.fromkeys(("dns.prefer_ipv4", "dns.prefer_ipv6", "enable_chunk_trace"), "boolean"),
        **dict.fromkeys(("storage.metrics", "storage.checksum", "storage.inherit", "storage.trim_files"), "boolean"),
        **dict.fromkeys(("storage.backlog.flush_on_shutdown", "storage.delete_irrecoverable_chunks"), "boolean"),
        **dict.fromkeys(("storage.keep.rejected", "hot_reload.ensure_thread_safety"), "boolean"),
        "sp.convert_from_str_to_num": "boolean",
        **dict.fromkeys(("log_level", "log_file", "parsers_file", "plugins_file", "streams_file"), "string"),
        **dict.fromkeys(("http_listen", "http_port", "dns.mode", "dns.resolver", "telemetry"), "string"),
        **dict.fromkeys(("storage.path", "storage.sync", "storage.type", "storage.rejected.path"), "string"),
        **dict.fromkeys(("storage.backlog.mem_limit", "storage.rejected.limit", "multiline_buffer_limit"), "size"),
        "coro_stack_size": "integer",
    }
)
"""Every key that means something to Fluent Bit, with its type; any other it ignores without a word."""

_MANAGED: Mapping[str, bool | None] = MappingProxyType(
    {
        **dict.fromkeys(("http_server", "hot_reload", "health_check"), True),
        "daemon": False,
        **dict.fromkeys(("http_listen", "http_port", "storage.path"), None),
    }
)
"""Keys that the agent sets; None where the value is its own choice."""


def check_service(source: Source) -> Iterator[Finding]:
    """Warnings for what has no effect, notes for what management replaces."""
    service = source.document.service
    for prop in service.properties if service else ():
        type_ = _KEYS.get(prop.name)
        if type_ is None:
            hint = did_you_mean(prop.name, _KEYS)
            yield warning(f"service key {prop.name!r} is not known, and would be ignored{hint}", service, prop)
            continue
        for text in texts_of(prop):
            if is_open(text):
                continue
            if why := objection(prop.name, type_, text):
                yield warning(f"service key {prop.name!r}: {why}", service, prop)
            elif prop.name in _MANAGED and not _is_same(_MANAGED[prop.name], text):
                message = f"service key {prop.name!r} is managed: agents set their own value in place of {text!r}"
                yield note(message, service, prop)


def _is_same(managed: bool | None, text: str) -> bool:
    return managed is not None and parse_bool(text) is managed
