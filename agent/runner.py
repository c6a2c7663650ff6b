"""One workload's engine: puts a content in place and runs it; what cannot run leaves the old one where that can go on.

Owns the folder and the process; knows nothing of generations, attempts or the plane. Used by one workload's task.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import structlog

from agent.errors import ConfigurationFault, EnvironmentFault
from agent.folders import Folder
from agent.host import Host
from agent.model import Run, Target
from agent.preparation import Prepared
from agent.restart import Exit
from agent.runtimes import EngineLostError, Instance, Launch, Report, Runtime, child_log, end_trial, resolve
from agent.runtimes.listeners import Listener, listeners
from agent.runtimes.log_lines import faults_in
from agent.runtimes.log_masking import LogMasking
from agent.runtimes.ports import bind_error, free_port
from agent.runtimes.render import Rendered, render
from headrace.types import Engine, Fault

log = structlog.get_logger(__name__)


class Runner:
    """The engine of one pipeline, there or not; `on_end` is called when it ends without having been told to."""

    def __init__(self, pipeline: str, host: Host, on_end: Callable[[Exit], None]) -> None:
        self.folder: Folder = host.folder(pipeline)
        self._pipeline = pipeline
        self._host = host
        self._on_end = on_end
        self._instance: Instance | None = None
        self._listeners: frozenset[Listener] = frozenset()
        self._port = 0
        self._is_changing = False
        self._log_offset = 0
        self._log_masking = LogMasking(self.folder.log, lambda: host.state.secrets.mask)

    @property
    def instance(self) -> Instance | None:
        """The process, while it lives."""
        return self._instance if self._instance is not None and self._instance.alive else None

    @property
    def settled(self) -> Instance | None:
        """The same, while nobody is about to change it."""
        return None if self._is_changing else self.instance

    def adopt(self, run: Run, prepared: Prepared | None) -> bool:
        """Take over the process of an earlier agent; whether it still runs."""
        self._port = run.child.port
        runtime = self._host.runtimes.get(run.engine) or next(iter(self._host.runtimes.values()))
        launch = Launch(
            folder=self.folder.path,
            config=self.folder.current(run.child.config),
            sha256="",
            environment={},
            port=run.child.port,
            log=self.folder.log,
            lock=self.folder.lock,
            grace=run.child.grace,
        )
        if prepared is None or prepared.content.secrets:
            self._log_masking.start()  # with what was written while no agent lived
        instance = runtime.adopt(run.child, launch)
        if instance is not None:
            self._take(instance, prepared)
        else:
            self._log_masking.stop()
        return instance is not None

    async def end_trial(self) -> None:
        """End what a trial left whose agent was killed."""
        await end_trial(self.folder.trial)

    def render(self, target: Target, prepared: Prepared) -> tuple[Launch, Rendered]:
        """Write a content beside the current one, ready to be switched to. Raises ConfigurationFault and OSError."""
        if prepared.render_faults or prepared.document is None:
            raise ConfigurationFault(*prepared.render_faults)
        # The same port as long as that can be, so that the same content is the same text.
        self._port = self.instance.child.port if self.instance else free_port(self._port)
        engine = prepared.engine.engine if prepared.engine else Engine.EMBEDDED
        rendered = render(prepared.document, engine=engine, port=self._port, storage=str(self.folder.data))
        self.folder.write(target.sha256, prepared.content.files, name=rendered.name, text=rendered.text)
        launch = Launch(
            folder=self.folder.path,
            config=self.folder.current(rendered.name),
            sha256=rendered.sha256,
            environment=prepared.environment.values,
            port=self._port,
            log=self.folder.log,
            lock=self.folder.lock,
            grace=prepared.grace,
        )
        return launch, rendered

    async def validate(self, target: Target, launch: Launch, prepared: Prepared, rendered: Rendered) -> None:
        """By what the agent knows and by what the engine says, without touching what runs. Raises both faults."""
        check_runnable(prepared)
        faults = await self._runtime(prepared).validate(self._beside(target, launch))
        if faults:
            raise ConfigurationFault(*rendered.traced(faults))

    async def try_out(self, target: Target, launch: Launch, prepared: Prepared, rendered: Rendered) -> tuple[str, ...]:
        """Find out before anything running is touched whether it will start; answers what could not be tried.

        Where nothing runs there is nothing to protect, and the start itself tells. Raises both faults, and OSError.
        """
        self.probe(prepared)
        if self.instance is None or prepared.expanded is None:
            return ()
        return await self._runtime(prepared).try_out(
            self._beside(target, launch), rendered.document, prepared.expanded, scratch=self.folder.trial
        )

    def probe(self, prepared: Prepared) -> None:
        """Whether the ports are free that the content binds and our engine does not hold. Raises EnvironmentFault."""
        wanted = _listeners(prepared)
        held = self._listeners if self.instance else frozenset()
        advice = "free it, or take another"
        faults = [
            Fault(
                message=f"port {each.port}/{each.protocol} on {each.host} cannot be bound: {why}; {advice}",
                plugin=each.plugin,
                property="port",
            )
            for each in sorted(wanted - held, key=lambda each: each.port)
            if (why := bind_error(each))
        ]
        if faults:
            raise EnvironmentFault(*faults)

    async def apply(self, target: Target, launch: Launch, prepared: Prepared, *, in_place: bool) -> Run:
        """Make it run: in the running process if that can be, else in a new one.

        Raises ConfigurationFault, EnvironmentFault and OSError; then the old configuration runs on, or nothing does.
        """
        self._is_changing = True
        before = self.folder.switch(target.sha256)
        try:
            if not (in_place and await self._reloaded(launch)):
                await self.stop()
                self._log_offset = child_log.size(launch.log)
                if prepared.content.secrets:
                    self._log_masking.start()
                self._take(await self._runtime(prepared).start(launch), prepared)
        except BaseException:
            if before is not None and self.folder.revision(before).is_dir():
                self.folder.switch(before)
            if self.instance is None:
                self._log_masking.stop()
            raise
        finally:
            self._is_changing = False
        assert self._instance
        assert prepared.engine
        self._listeners = _listeners(prepared)
        return Run(
            target=target,
            basis=prepared.basis,
            engine=prepared.engine.engine,
            child=self._instance.child,
            since=self._host.now(),
        )

    async def report(self) -> Report:
        """How the engine is doing. Raises EngineLostError."""
        if self.instance is None:
            raise EngineLostError("the engine does not run")
        report = await self.instance.report()
        return replace(report, message=self._host.state.secrets.mask.text(report.message))

    def last_faults(self) -> tuple[Fault, ...]:
        """What the engine's log says went wrong since it was started, without secrets."""
        faults = faults_in(child_log.since(self.folder.log, self._log_offset))
        return tuple(map(self._host.state.secrets.mask.fault, faults))

    def trim_log(self) -> None:
        """Keep the engine's log within its bound."""
        self._log_masking.trim(self._host.log_bytes)

    def leave(self) -> None:
        """Look after the engine no more; it may run on."""
        self._log_masking.stop()

    async def stop(self) -> None:
        """End the engine, after its grace; at once when cancelled."""
        instance, self._instance = self.instance, None
        try:
            if instance is not None:
                await self._end(instance)
        finally:
            self._log_masking.stop()

    async def _end(self, instance: Instance) -> None:
        try:
            await self._host.before_end(self._pipeline, instance)
        finally:
            if not await instance.stop():
                log.warning("engine had to be killed", pipeline=self._pipeline, pid=instance.child.pid)

    def _beside(self, target: Target, launch: Launch) -> Launch:
        """The same, of a content that is not current yet."""
        return replace(launch, config=self.folder.revision(target.sha256) / launch.config.name)

    def _runtime(self, prepared: Prepared) -> Runtime:
        runtime = resolve(prepared.content.engine, self._host.runtimes)
        if runtime is None:
            raise ConfigurationFault(*prepared.faults)
        return runtime

    async def _reloaded(self, launch: Launch) -> bool:
        """False when only a new process helps."""
        instance = self.instance
        if instance is None or instance.child.config != launch.config.name:
            return False
        await self._host.before_end(self._pipeline, instance)
        try:
            await instance.reload(launch)
        except ConfigurationFault:
            self._host.disturbed(self._pipeline)
            raise
        except EngineLostError as error:
            self._host.disturbed(self._pipeline)
            log.warning("reload failed; the engine is replaced", pipeline=self._pipeline, reason=error.message)
            return False
        return True

    def _take(self, instance: Instance, prepared: Prepared | None) -> None:
        self._instance = instance
        self._listeners = _listeners(prepared) if prepared else frozenset()
        instance.on_end(lambda: self._ended(instance))

    def _ended(self, instance: Instance) -> None:
        # One that was told to stop is no longer ours by then; one that dies of a reload is the reload's business.
        if instance is self._instance and not self._is_changing:
            self._host.disturbed(self._pipeline)
            self._on_end(instance.ending(self._host.clock()))
            self._log_masking.stop()


def check_runnable(prepared: Prepared) -> None:
    """Raises ConfigurationFault for what must not run here, and EnvironmentFault for what cannot run yet."""
    if prepared.faults:
        raise ConfigurationFault(*prepared.faults)
    if prepared.awaited:
        raise EnvironmentFault(*prepared.awaited)


def _listeners(prepared: Prepared) -> frozenset[Listener]:
    return frozenset(listeners(prepared.expanded)) if prepared.expanded else frozenset()
