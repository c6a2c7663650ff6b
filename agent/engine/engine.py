"""The engine: one current pipeline, replaced as a whole or not at all.

`apply` reads and checks a new configuration, builds and opens everything that is new in it, and only then touches what
runs; a configuration that fails before that leaves the old one running. Parts that are the same in both go on
undisturbed. One engine per process; used from the event loop's thread only.
"""

import asyncio
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from random import Random

from agent.engine import logs
from agent.engine.build import Builder, Surroundings
from agent.engine.counters import Counters
from agent.engine.exposition import samples
from agent.engine.load import Loaded, load
from agent.engine.logs import ROOT as LOG
from agent.engine.logs import PluginLog
from agent.engine.metrics import Health
from agent.engine.monitor import Monitor
from agent.engine.parsers.table import ParserTable, build_parsers
from agent.engine.parts import AnyPart, Parts
from agent.engine.pipeline import Pipeline
from agent.engine.plugin import Context, PluginError
from agent.engine.remainder import Remainder
from agent.engine.resources import Resources
from agent.engine.service import Service, read_service
from agent.engine.storage import ChunkStore
from agent.engine.tracing import TAG, Tracer
from headrace.config import ConfigError, Section


@dataclass(frozen=True, slots=True, kw_only=True)
class Flags:
    """What the command line says. A service key in the configuration wins over its flag, as in Fluent Bit."""

    config: Path | None = None
    sections: tuple[Section, ...] = ()
    parser_files: tuple[str, ...] = ()
    defaults: Service = field(default_factory=Service)


@dataclass(slots=True)
class Reloads:
    """What became of the reloads so far: `count` successful ones, and the last attempt's result and error."""

    count: int = 0
    result: str = ""
    error: str = ""


class Engine:
    """Runs the configuration that `flags` names, until it is told to stop."""

    def __init__(
        self,
        flags: Flags,
        *,
        clock: Callable[[], int] = time.time_ns,
        rng: Random | None = None,
        environment: Mapping[str, str] = os.environ,
    ) -> None:
        self.started = time.monotonic()
        self.health = Health()
        self.reloads = Reloads()
        self.service = flags.defaults
        self.sha256 = ""
        self.exit_code = 0
        self.pipeline: Pipeline | None = None
        self.tracer: Tracer | None = None
        self.log_counter = logs.LogCounter()
        self.counters = Counters()
        self._flags = flags
        self._clock = clock
        self._rng = rng or Random()
        self._environment = environment
        self._resources = Resources()
        self._monitor: Monitor | None = None
        self._stop = asyncio.Event()
        self._reload = asyncio.Event()
        self._changing = asyncio.Lock()  # held by a reload, and by the stop, which waits for a reload under way
        self._failure = ""
        self._listening = (False, "", 0)

    def stop(self, why: str, code: int = 0) -> None:
        """Ask for an orderly stop; `code` becomes `exit_code`."""
        if not self._stop.is_set():
            self.exit_code = code
            LOG.info("[engine] stopping: %s", why)
            self._stop.set()

    def check(self) -> None:
        """Everything that can be checked without opening anything. Raises ConfigError with every fault."""
        self._prepare()

    async def run(self, ready: Callable[[], None] = lambda: None) -> Remainder:
        """Start, run until `stop`, drain and end. Returns what had to be left behind.

        Raises ConfigError or PluginError when it cannot start, RuntimeError after a part failed while running.
        """
        refused: ConfigError | PluginError | None = None
        remainder = Remainder()
        async with asyncio.TaskGroup() as tasks:
            try:
                await self._start(tasks)
                ready()
                reloader = tasks.create_task(self._reload_on_request(), name="reload on request")
                await self._stop.wait()
                await self._changing.acquire()
                reloader.cancel()
                await asyncio.wait([reloader])
            except (ConfigError, PluginError) as error:
                refused = error
            finally:
                if self.pipeline is not None:
                    remainder = await self.pipeline.stop()
                    self._keep_counters()
                if self.tracer is not None:
                    await self.tracer.close()
                if self._monitor is not None:
                    await self._monitor.close()
        if refused is not None:
            raise refused
        if self._failure:
            raise RuntimeError(self._failure)
        return remainder

    def request_reload(self) -> None:
        """Reload soon; what SIGHUP does."""
        if not self.service.hot_reload:
            LOG.warning("[reload] hot reloading is not enabled")
        self._reload.set()

    @property
    def is_reloading(self) -> bool:
        """Whether a reload is under way, or none is possible any more because the engine stops."""
        return self._changing.locked()

    async def reload(self) -> bool:
        """Read the configuration file again and apply it; one at a time, others wait.

        False, with the reason in `reloads.error`, leaves the old configuration running.
        """
        async with self._changing:
            try:
                await self._apply()
            except Exception as error:
                self._refuse(error)
                return False
            self.reloads.count += 1
            self.reloads.result, self.reloads.error = "applied", ""
            return True

    def _refuse(self, error: Exception) -> None:
        expected = isinstance(error, ConfigError | PluginError)
        self.reloads.result = "refused"
        self.reloads.error = str(error) if expected else f"unexpected {type(error).__name__}: {error}"
        for line in self.reloads.error.splitlines():
            LOG.error("[config] %s", line)
        LOG.error("[reload] the new configuration is refused; the old one goes on", exc_info=not expected)

    async def _start(self, tasks: asyncio.TaskGroup) -> None:
        loaded, service, parts = self._prepare()
        self.log_counter = logs.configure(service.log_level, Path(service.log_file) if service.log_file else None)
        store = (
            ChunkStore(Path(service.storage_path), sync=service.storage_sync == "full")
            if service.storage_path
            else None
        )
        await self._open(parts)
        if service.storage_path:
            try:
                self.counters.load(Path(service.storage_path))
            except OSError as error:
                LOG.warning("[engine] counters of the last run cannot be read: %s", error.strerror)
        self.counters.adopt(parts)
        try:
            self._monitor = await self._listen(service)
        except PluginError:
            await self._close(parts.all())
            raise
        self.tracer = Tracer(tasks, self._trace_context())
        self.pipeline = Pipeline(
            service=service,
            store=store,
            tasks=tasks,
            rng=self._rng,
            failed=self._failed,
            tracer=self.tracer,
            counters=self.counters,
        )
        await self.pipeline.exchange(parts)
        self._become(loaded, service)
        waiting = self.pipeline.deliver_backlog()
        if waiting:
            LOG.info("[storage] %d records of an earlier run are delivered now", waiting)

    async def _apply(self) -> None:
        assert self.pipeline is not None
        loaded, service, parts = self._prepare()
        service = self._keep_fixed(service)
        new = [part for part in parts.all() if not part.is_open]
        await self._open(parts)
        monitor = self._monitor
        if (service.http_server, service.http_listen, service.http_port) != self._listening:
            try:
                monitor = await self._listen(service)
            except PluginError:
                await self._close(new)
                raise
        self.counters.adopt(parts)
        await self.pipeline.exchange(parts)
        if monitor is not self._monitor:
            replaced, self._monitor = self._monitor, monitor
            if replaced is not None:
                await replaced.close()
        kept = len(parts.all()) - len(new)
        LOG.info("[reload] applied: %d instances are new, %d go on unchanged", len(new), kept)
        self._become(loaded, service)

    def _trace_context(self) -> Context:
        return Context(
            name="trace",
            tag=TAG,
            log=PluginLog("output", "trace", "trace"),
            clock=self._clock,
            stop=self.stop,
            resources=self._resources,
            parsers=ParserTable({}, {}),
        )

    def _keep_fixed(self, service: Service) -> Service:
        """The service with what cannot change while running left as it is."""
        for name, key in (("storage_path", "storage.path"), ("storage_sync", "storage.sync"), ("log_file", "log_file")):
            if getattr(service, name) != getattr(self.service, name):
                LOG.warning("[reload] %r changes at the next start only", key)
        running = self.service
        return replace(
            service, storage_path=running.storage_path, storage_sync=running.storage_sync, log_file=running.log_file
        )

    def _prepare(self) -> tuple[Loaded, Service, Parts]:
        loaded = load(self._flags.config, self._environment, self._flags.parser_files, self._flags.sections)
        service, faults = read_service(loaded.document, self._flags.defaults)
        parsers, parser_faults = build_parsers(loaded.parsers, self._clock)
        running = self.pipeline.parts if self.pipeline else Parts()
        surroundings = Surroundings(
            clock=self._clock,
            stop=self.stop,
            resources=self._resources,
            parsers=parsers,
            service=service,
            own_metrics=lambda: samples(self),
            variables=loaded.variables,
            folder=self._flags.config.parent if self._flags.config else Path(),
        )
        builder = Builder(loaded.document, surroundings, running)
        parts = builder.build()
        faults = [*faults, *parser_faults, *builder.faults]
        if faults:
            raise ConfigError(sorted(faults, key=lambda fault: fault.position))
        return loaded, service, parts

    async def _open(self, parts: Parts) -> None:
        """Open what is not open yet; all or nothing."""
        opened: list[AnyPart] = []
        for part in parts.all():
            if part.is_open:
                continue
            try:
                await part.plugin.open()
            except Exception as error:
                await self._close(opened)
                where = f"{part.section.position}: {part.section.kind} {part.name!r}"
                raise PluginError(f"{where} cannot start: {error}") from error
            part.is_open = True
            opened.append(part)

    async def _close(self, parts: list[AnyPart]) -> None:
        for part in parts:
            part.is_open = False
            await part.plugin.close()

    async def _listen(self, service: Service) -> Monitor | None:
        if not service.http_server:
            return None
        monitor = Monitor(self)
        try:
            await monitor.listen(service.http_listen, service.http_port)
        except OSError as error:
            where = f"{service.http_listen}:{service.http_port}"
            why = error.strerror or error
            raise PluginError(f"service: the monitoring API cannot listen on {where}: {why}") from error
        LOG.info("[http_server] monitoring API on %s:%d", service.http_listen, monitor.port)
        return monitor

    def _become(self, loaded: Loaded, service: Service) -> None:
        assert self.pipeline is not None
        self.service = self.pipeline.service = service
        self.sha256 = loaded.sha256
        self._listening = (service.http_server, service.http_listen, service.http_port)
        logs.ROOT.setLevel(logs.LEVELS[service.log_level])
        self.health.error_limit = service.hc_errors_count
        self.health.retry_failure_limit = service.hc_retry_failure_count
        self.health.period = service.hc_period

    def _keep_counters(self) -> None:
        if self.service.storage_path:
            try:
                self.counters.save(Path(self.service.storage_path))
            except OSError as error:
                LOG.warning("[engine] counters cannot be kept for the next start: %s", error.strerror)

    def _failed(self, why: str) -> None:
        self._failure = self._failure or why
        self.stop(why)

    async def _reload_on_request(self) -> None:
        while True:
            await self._reload.wait()
            self._reload.clear()
            if self.service.hot_reload and not self.is_reloading:
                await self.reload()
