"""The `service` section: what the engine as a whole is told, and which of Fluent Bit's keys mean nothing here (pure).

Keys that would change what is delivered, and that this engine does not implement, are refused by name; keys that tune
Fluent Bit's own machinery are taken and have no effect.
"""

from dataclasses import dataclass, replace
from typing import Any

from agent.engine.config import BOOLEAN, DOUBLE, INTEGER, SIZE, STRING, option, options_of, read
from agent.engine.logs import LEVELS
from agent.engine.retry import RetrySchedule
from headrace.config import Document, Fault, Position, Section


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """Times are seconds, sizes bytes."""

    flush: float = option(DOUBLE, 1.0, help="longest time that records gather before they go to the outputs")
    grace: int = option(INTEGER, 5, help="how long a stop waits for the outputs")
    log_level: str = option(STRING, "info", choices=LEVELS, help="what is logged")
    log_file: str | None = option(STRING, help="where the log goes instead of standard error")
    parsers_file: tuple[str, ...] = option(STRING, repeated=True, help="files with parser definitions")
    http_server: bool = option(BOOLEAN, False, help="whether the monitoring API is served")
    http_listen: str = option(STRING, "127.0.0.1", help="address of the monitoring API; Fluent Bit's default is any")
    http_port: int = option(INTEGER, 2020, help="port of the monitoring API")
    health_check: bool = option(BOOLEAN, False, help="whether /api/v1/health judges errors and retries")
    hc_errors_count: int = option(INTEGER, 5, help="errors in a period above which the engine is unhealthy")
    hc_retry_failure_count: int = option(INTEGER, 5, help="given-up chunks in a period above which it is unhealthy")
    hc_period: int = option(INTEGER, 60, help="the period of the health check")
    hot_reload: bool = option(BOOLEAN, False, help="whether SIGHUP and the API reload the configuration")
    storage_path: str | None = option(STRING, name="storage.path", help="folder for chunks that outlive the process")
    storage_sync: str = option(
        STRING, "normal", name="storage.sync", choices=("normal", "full"), help="full: fsync each batch"
    )
    storage_type: str | None = option(
        STRING, name="storage.type", choices=("memory", "filesystem"), help="where records of inputs wait by default"
    )
    storage_metrics: bool = option(BOOLEAN, False, name="storage.metrics", help="whether /api/v1/storage is served")
    scheduler_base: int = option(INTEGER, 5, name="scheduler.base", help="shortest wait before a retry")
    scheduler_cap: int = option(INTEGER, 2000, name="scheduler.cap", help="longest wait before a retry")
    escape_unicode: bool = option(BOOLEAN, True, name="json.escape_unicode", help="whether JSON is written as ASCII")
    multiline_buffer_limit: int = option(SIZE, 2_000_000, help="size at which a multi-line message is cut")
    # Taken, without effect: they tune what this engine does not have.
    hot_reload_timeout: int = option(INTEGER, 0, name="hot_reload.timeout", help="taken; a reload here cannot hang")
    hot_reload_safety: bool = option(
        BOOLEAN, True, name="hot_reload.ensure_thread_safety", help="taken; always so here"
    )
    storage_checksum: bool = option(BOOLEAN, False, name="storage.checksum", help="taken; has no effect")
    storage_max_chunks_up: int = option(INTEGER, 128, name="storage.max_chunks_up", help="taken; has no effect")
    storage_backlog_mem_limit: int = option(
        SIZE, 5_000_000, name="storage.backlog.mem_limit", help="taken; has no effect"
    )
    storage_trim_files: bool = option(BOOLEAN, False, name="storage.trim_files", help="taken; has no effect")
    storage_delete_bad: bool = option(
        BOOLEAN, False, name="storage.delete_irrecoverable_chunks", help="taken; a damaged chunk is set aside"
    )
    storage_flush_backlog: bool = option(
        BOOLEAN, False, name="storage.backlog.flush_on_shutdown", help="taken; always so here"
    )
    coro_stack_size: int = option(SIZE, 24576, help="taken; has no effect")
    dns_mode: str | None = option(STRING, name="dns.mode", help="taken; has no effect")
    dns_resolver: str | None = option(STRING, name="dns.resolver", help="taken; has no effect")
    dns_prefer_ipv4: bool = option(BOOLEAN, False, name="dns.prefer_ipv4", help="taken; has no effect")
    dns_prefer_ipv6: bool = option(BOOLEAN, False, name="dns.prefer_ipv6", help="taken; has no effect")
    daemon: bool = option(BOOLEAN, False, help="only 'off': the engine stays in the foreground")
    enable_chunk_trace: bool = option(BOOLEAN, False, help="whether /api/v1/trace taps inputs; only of the first start")

    @property
    def schedule(self) -> RetrySchedule:
        return RetrySchedule(base=max(1, self.scheduler_base), cap=max(1, self.scheduler_cap))


REFUSED = (
    "plugins_file",
    "streams_file",
    "storage.inherit",
    "storage.keep.rejected",
    "storage.rejected.path",
    "storage.rejected.limit",
    "sp.convert_from_str_to_num",
    "json.convert_nan_to_null",
    "security.fips_mode",
    "flush.adaptive",
)
_ONLY_OFF = {"daemon": "the embedded engine does not fork"}


def read_service(document: Document, defaults: Service) -> tuple[Service, list[Fault]]:
    """The service section of a configuration over the command line's `defaults`, and what is wrong with it."""
    section = document.service
    if section is None:
        return defaults, []
    found, faults = read(section, Service, refused=REFUSED, label="service")
    if faults:
        return defaults, faults
    written = {name for name, spec in options_of(Service) if any(section.find(key) for key in spec.names)}
    service = replace(defaults, **{name: getattr(found[0], name) for name in written})
    for key, why in _ONLY_OFF.items():
        if getattr(service, key):
            faults.append(_fault(section, key, why))
    for key, good, why in (
        ("flush", service.flush > 0, "expected more than 0 seconds"),
        ("grace", service.grace >= 0, "expected 0 seconds or more"),
        ("http_port", 0 <= service.http_port < 65536, "expected a port from 0 to 65535"),
    ):
        if not good:
            faults.append(_fault(section, key, why))
    if service.storage_type == "filesystem" and service.storage_path is None:
        faults.append(_fault(section, "storage.type", "filesystem needs 'storage.path'"))
    return service, faults


def _fault(section: Section, key: str, why: str) -> Fault:
    prop = section.find(key)
    position: Position = prop.position if prop else section.position
    value: Any = prop.value if prop else None
    return Fault(position, f"service: property {key!r}: {str(value)!r}: {why}")
