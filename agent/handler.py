"""The agent's end of the channel: what comes in is kept and handed to the reconciler; what is asked for is answered."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from functools import partial

import structlog

from agent import keys
from agent.host import Host
from agent.model import Removal, Target
from agent.reconciler import Reconciler
from agent.runtimes import child_log
from agent.workload import Workload
from headrace.client import Identity
from headrace.content import unpack
from headrace.errors import HeadraceError, LimitError, NotFoundError
from headrace.limits import DEFAULT_LIMITS, Limits
from headrace.messages import Answer, Authorities, Command, Complete, Desired, Remove, Secrets, Variables, Welcome
from headrace.names import validate_name
from headrace.session import PlaneSeen
from headrace.types import CommandKind, Facts, Fault, Observed

log = structlog.get_logger(__name__)

MAX_LOG_LINES = 5000
MAX_LOG_BYTES = 512 << 10


async def _nothing() -> None:
    pass


class Handler:
    """Implements `headrace.client.AgentHandler`.

    `enrol` gets a new identity, and answers whether it could; `upload` puts a blob by its hash; `metrics`
    hears whether the control plane has a store for them, and how often it wants them, in seconds (0: it does not say);
    `commit` keeps the next identity, which has just opened a session; `trust` hears by whom certificates are known.
    """

    def __init__(
        self,
        host: Host,
        reconciler: Reconciler,
        *,
        facts: Callable[[], Facts],
        enrol: Callable[[], Awaitable[bool]],
        upload: Callable[[str, bytes], Awaitable[None]],
        metrics: Callable[[bool, float], None] = lambda wanted, interval_s: None,
        commit: Callable[[], Awaitable[None]] = _nothing,
        trust: Callable[[Authorities], None] = lambda authorities: None,
        limits: Limits = DEFAULT_LIMITS,
    ) -> None:
        self._host = host
        self._reconciler = reconciler
        self._facts = facts
        self._enrol = enrol
        self._limits = limits
        self._put_blob = upload
        self._metrics = metrics
        self._commit = commit
        self._trust = trust
        self._offered: object = None
        self._answers: Mapping[CommandKind, Callable[[Command], Awaitable[Answer]]] = {
            CommandKind.RESTART: self._restart,
            CommandKind.RETRY: self._retry,
            CommandKind.LOGS: self._logs,
            CommandKind.UPLOAD: self._upload,
        }

    def identity(self) -> Identity:
        self._offered = identity = self._host.state.next_identity or self._host.state.identity
        assert identity is not None
        sign, until = partial(keys.sign, self._host.state.folder), identity.certificate_until
        if until is None or until <= self._host.now():
            return Identity(agent_id=identity.agent_id, credential=identity.credential, sign=sign)
        return Identity(
            agent_id=identity.agent_id,
            credential=identity.credential,
            certificate=identity.certificate.encode(),
            key=keys.read(self._host.state.folder),
            certificate_port=identity.certificate_port,
            sign=sign,
        )

    def facts(self) -> Facts:
        return self._facts()

    def observed(self) -> Mapping[str, Observed]:
        return self._reconciler.observed()

    def plane(self) -> PlaneSeen:
        plane = self._host.state.plane
        return PlaneSeen(instance_id=plane.instance_id, epoch=plane.epoch)

    async def on_welcome(self, welcome: Welcome) -> None:
        self._metrics(welcome.metrics, welcome.sample_interval_ms / 1000)
        state = self._host.state
        if state.next_identity is not None and self._offered is state.next_identity:
            try:
                await self._commit()
            except HeadraceError as error:  # both are good until it is done
                log.warning("the next certificate is not kept yet", reason=error.message)
        if welcome.instance_id == state.plane.instance_id and welcome.epoch < state.plane.epoch:
            return
        state.save_plane(replace(state.plane, instance_id=welcome.instance_id, epoch=welcome.epoch))

    async def on_desired(self, desired: Desired) -> None:
        pipeline, generation = desired.pipeline, desired.generation
        try:
            validate_name(pipeline, "pipeline")
            self._check_room(pipeline)
            data = unpack(desired, self._limits) if desired.payload else None
        except HeadraceError as error:
            self._reconciler.refuse(pipeline, generation, Fault(message=error.message))
            return
        self._reconciler.want(pipeline, Target(generation, desired.sha256), data)

    async def on_remove(self, remove: Remove) -> None:
        self._reconciler.remove(remove.pipeline, Removal(generation=remove.generation, purge=remove.purge))

    async def on_variables(self, variables: Variables) -> None:
        plane = self._host.state.plane
        self._host.state.save_plane(replace(plane, labels=dict(variables.labels), values=dict(variables.values)))
        if self._host.state.plane != plane:
            self._reconciler.refresh()

    async def on_secrets(self, secrets: Secrets) -> None:
        state = self._host.state
        if state.secrets.take(secrets.secrets):
            log.info("secrets", versions={secret.name: secret.version for secret in secrets.secrets})
            self._reconciler.refresh()
        state.collect()

    async def on_authorities(self, authorities: Authorities) -> None:
        self._trust(authorities)

    async def on_complete(self, complete: Complete) -> None:
        log.info("in step with the control plane", fleet_revision=complete.fleet_revision)

    async def on_command(self, command: Command) -> Answer:
        log.info("command", command=command.kind.value, pipeline=command.pipeline, id=command.id)
        try:
            return await self._answers[command.kind](command)
        except HeadraceError as error:
            return Answer(command_id=command.id, ok=False, message=error.message)

    async def on_refused(self, error: HeadraceError) -> bool:
        state = self._host.state
        if error.code == "unauthenticated" and state.next_identity is not None:
            log.warning("the next certificate was refused; the old one stays", reason=error.message)
            state.save_next(None)
            return True
        log.error("the control plane refuses this agent; its pipelines run on", reason=error.message)
        return error.code == "unauthenticated" and await self._enrol()

    def _check_room(self, pipeline: str) -> None:
        """Raises LimitError."""
        most = self._limits.pipelines_per_agent
        if self._reconciler.find(pipeline) is None and self._reconciler.count >= most:
            raise LimitError(f"pipeline {pipeline!r}: this agent runs {most} pipelines, which is the limit")

    async def _restart(self, command: Command) -> Answer:
        self._named(command).restart()
        return Answer(command_id=command.id, ok=True, message="the engine is started anew")

    async def _retry(self, command: Command) -> Answer:
        self._named(command).retry()
        return Answer(command_id=command.id, ok=True, message="the desired generation is tried again")

    async def _logs(self, command: Command) -> Answer:
        lines = min(command.lines or 100, MAX_LOG_LINES)
        text = self._host.state.secrets.mask.text(child_log.tail(self._named(command).log_path, lines)).encode()
        return Answer(command_id=command.id, ok=True, output=text[-MAX_LOG_BYTES:])

    async def _upload(self, command: Command) -> Answer:
        data = self._host.state.blob(command.sha256)
        for runtime in self._host.runtimes.values():
            if runtime.info.catalogue_sha256 == command.sha256:
                data = await runtime.catalogue()
        if data is None:
            raise NotFoundError(f"this agent has no content with sha256 {command.sha256}")
        await self._put_blob(command.sha256, data)
        return Answer(command_id=command.id, ok=True)

    def _named(self, command: Command) -> Workload:
        workload = self._reconciler.find(command.pipeline)
        if workload is None:
            raise NotFoundError(f"this agent has no pipeline {command.pipeline!r}")
        return workload
