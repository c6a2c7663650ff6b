"""A management client without a control plane: keeps pipelines in memory and answers what a test scripts."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Self

from headrace.api import (
    Action,
    Agent,
    ApplyPipelinesResponse,
    CertificateAuthority,
    Change,
    CommandResult,
    CreateTokenResponse,
    CreateUserResponse,
    DeletePipelinesResponse,
    Event,
    Figures,
    GetStatusResponse,
    LatestMetricsRequest,
    Manifest,
    MetricLine,
    Pipeline,
    QueryMetricsRequest,
    Revision,
    RollbackPipelineResponse,
    SecretInfo,
    SetLabelsResponse,
    SetSecretResponse,
    Token,
    User,
    Variable,
    WatchMetricsRequest,
    Workload,
)
from headrace.errors import ConflictError, HeadraceError, NotFoundError
from headrace.types import AgentState, Facts, KnownBy, Phase, Role

AT = datetime(2026, 11, 22, 10, 15, 30, tzinfo=UTC)


@dataclass
class FakePlane:
    """What a command sees of a control plane; `error` is raised by every call, `phases` are what a watch tells."""

    agents: dict[str, Agent] = field(default_factory=dict)
    pipelines: dict[str, Pipeline] = field(default_factory=dict)
    revisions: dict[str, list[Revision]] = field(default_factory=dict)
    variables: list[Variable] = field(default_factory=list)
    users: dict[str, User] = field(default_factory=dict)
    authorities: list[CertificateAuthority] = field(
        default_factory=lambda: [CertificateAuthority(fingerprint="f1", certificate=b"pem 1\n", signs=True, agents=3)]
    )
    secrets: dict[str, bytes] = field(default_factory=dict)
    tokens: dict[str, Token] = field(default_factory=dict)
    channel: str = "plane.example:8402"
    events: list[Event] = field(default_factory=list)
    results: tuple[CommandResult, ...] = ()
    phases: Sequence[Mapping[str, Workload]] = ()
    figures: tuple[Figures, ...] | HeadraceError = ()
    lines: tuple[MetricLine, ...] = ()
    error: HeadraceError | None = None
    asked: list[object] = field(default_factory=list)

    async def __aenter__(self) -> Self:
        if self.error:
            raise self.error
        return self

    async def __aexit__(self, *_: object) -> None:
        return None

    async def apply_pipelines(
        self,
        manifests: Sequence[Manifest],
        *,
        reason: str = "",
        dry_run: bool = False,
        force: bool = False,
        prune: str = "",
        if_revision: int | None = None,
        confirm: int = 0,
    ) -> ApplyPipelinesResponse:
        self.asked.append((reason, dry_run, force, prune, if_revision, confirm))
        changes = []
        for manifest in manifests:
            live = self.pipelines.get(manifest.name)
            if live and live.manifest == manifest:
                changes.append(Change(pipeline=manifest.name, revision=live.revision, generation=live.generation))
                continue
            revision = live.revision + 1 if live else 1
            action = Action.UPDATED if live else Action.CREATED
            if not dry_run:
                self._put(manifest, revision, action, reason)
            changes.append(
                Change(
                    pipeline=manifest.name,
                    action=action,
                    revision=revision,
                    generation=revision + 10,
                    agents=len(self.agents),
                    gained=0 if live else len(self.agents),
                )
            )
        return ApplyPipelinesResponse(changes=tuple(changes))

    def _put(self, manifest: Manifest, revision: int, action: Action, reason: str) -> None:
        name = manifest.name
        self.pipelines[name] = Pipeline(
            manifest=manifest, revision=revision, generation=revision + 10, sha256="ab" * 32, updated_at=AT
        )
        self.revisions.setdefault(name, []).insert(
            0,
            Revision(
                pipeline=name,
                number=revision,
                generation=revision + 10,
                action=action,
                reason=reason,
                author="ann",
                at=AT,
                manifest=manifest,
            ),
        )

    async def delete_pipelines(
        self,
        names: Sequence[str],
        *,
        reason: str = "",
        dry_run: bool = False,
        confirm: int = 0,
        purge: bool = False,
        orphaned_on: str = "",
    ) -> DeletePipelinesResponse:
        self.asked.append((reason, dry_run, confirm, purge, orphaned_on))
        gone = [self._found(name) for name in names]
        for name in names:
            del self.pipelines[name]
        return DeletePipelinesResponse(
            changes=tuple(
                Change(pipeline=p.manifest.name, action=Action.DELETED, revision=p.revision + 1, generation=99, lost=1)
                for p in gone
            )
        )

    async def rollback_pipeline(
        self, name: str, *, to_revision: int = 0, reason: str = "", confirm: int = 0, force: bool = False
    ) -> RollbackPipelineResponse:
        live = self._found(name)
        number = to_revision or live.revision - 1
        old = next(revision for revision in self.revisions[name] if revision.number == number)
        assert old.manifest is not None
        self._put(old.manifest, live.revision + 1, Action.UPDATED, reason)
        return RollbackPipelineResponse(
            change=Change(pipeline=name, action=Action.UPDATED, revision=live.revision + 1, generation=20, agents=1)
        )

    def _found(self, name: str) -> Pipeline:
        if name not in self.pipelines:
            raise NotFoundError(f"there is no pipeline {name!r}")
        return self.pipelines[name]

    async def list_pipelines(self, selector: str = "") -> tuple[Pipeline, ...]:
        self.asked.append(selector)
        return tuple(self.pipelines.values())

    async def get_pipeline(self, name: str, *, revision: int = 0) -> Pipeline:
        return self._found(name)

    async def list_revisions(self, name: str, *, limit: int = 0) -> tuple[Revision, ...]:
        if name not in self.revisions:  # they outlive their pipeline
            raise NotFoundError(f"there is no pipeline {name!r}")
        return tuple(self.revisions[name])

    async def watch_pipeline(self, name: str) -> AsyncIterator[Pipeline]:
        for state in self.phases or ({},):
            live = self._found(name)
            yield replace(live, workloads=tuple(replace(w, pipeline=name) for w in state.values()))
        await asyncio.Event().wait()

    async def restart_pipeline(self, name: str, *, selector: str = "") -> tuple[CommandResult, ...]:
        self._found(name)
        return self.results

    retry_pipeline = restart_pipeline

    async def get_logs(self, pipeline: str, agent: str, *, lines: int = 100) -> str:
        return f"log of {pipeline} on {agent}, {lines} lines\n\x1b[31mred\n"

    async def adopt_workload(self, pipeline: str, agent: str, *, selector: str, reason: str = "") -> Change:
        return Change(pipeline=pipeline, action=Action.CREATED, revision=1, generation=1, agents=1)

    async def list_agents(self, selector: str = "", *, all: bool = False) -> tuple[Agent, ...]:
        return tuple(self.agents.values())

    async def get_agent(self, agent: str) -> Agent:
        if agent not in self.agents:
            raise NotFoundError(f"there is no agent {agent!r}")
        return self.agents[agent]

    async def set_labels(
        self, agent: str, *, set: Mapping[str, str] | None = None, unset: Sequence[str] = (), confirm: int = 0
    ) -> SetLabelsResponse:
        labels = {key: value for key, value in self.agents[agent].labels.items() if key not in unset} | dict(set or {})
        self.agents[agent] = replace(self.agents[agent], labels=labels)
        return SetLabelsResponse(agent=self.agents[agent], gained=("nginx",))

    async def revoke_agent(self, agent: str, *, reason: str = "") -> None:
        self.agents[agent] = replace(self.agents[agent], state=AgentState.REVOKED)

    async def approve_agent(self, agent: str, *, replaces: str = "") -> str:
        self.agents[agent] = replace(self.agents[agent], waits=False)
        return replaces or f"id-{agent}"

    async def deny_agent(self, agent: str, *, reason: str = "") -> None:
        del self.agents[agent]

    async def set_variables(self, *, set: Sequence[Variable] = (), unset: Sequence[Variable] = ()) -> None:
        keys = {(variable.name, variable.selector) for variable in (*set, *unset)}
        self.variables = [v for v in self.variables if (v.name, v.selector) not in keys] + list(set)

    async def list_variables(self) -> tuple[Variable, ...]:
        return tuple(self.variables)

    async def create_user(
        self,
        name: str,
        role: Role,
        *,
        ttl_seconds: int = 0,
        description: str = "",
        known_by: KnownBy | None = None,
        subject: str = "",
    ) -> CreateUserResponse:
        expires_at = AT + timedelta(seconds=ttl_seconds) if ttl_seconds else None
        self.users[name] = User(
            name=name, role=role, expires_at=expires_at, description=description, known_by=known_by, subject=subject
        )
        return CreateUserResponse(user=self.users[name], token="" if subject else f"hru_{name}.secret")

    async def list_users(self) -> tuple[User, ...]:
        return tuple(self.users.values())

    async def revoke_user(self, name: str) -> None:
        self.users[name] = replace(self.users[name], revoked=True)

    async def list_authorities(self) -> tuple[CertificateAuthority, ...]:
        return tuple(self.authorities)

    async def rotate_authority(self) -> CertificateAuthority:
        before = [replace(authority, signs=False) for authority in self.authorities]
        number = len(before) + 1
        made = CertificateAuthority(fingerprint=f"f{number}", certificate=f"pem {number}\n".encode(), signs=True)
        self.authorities = [made, *before]
        return made

    async def finish_rotation(self, *, force: bool = False) -> tuple[CertificateAuthority, ...]:
        if not force:
            raise ConflictError("1 connected agent (a) has a certificate by an older authority only")
        self.authorities, ended = self.authorities[:1], self.authorities[1:]
        return tuple(ended)

    async def set_secret(self, name: str, value: bytes) -> SetSecretResponse:
        changed = self.secrets.get(name) != value
        self.secrets[name] = value
        return SetSecretResponse(secret=SecretInfo(name=name, version=1, pipelines=("nginx",)), changed=changed)

    async def list_secrets(self) -> tuple[SecretInfo, ...]:
        return tuple(SecretInfo(name=name, version=1, updated_at=AT, author="ann") for name in self.secrets)

    async def delete_secret(self, name: str) -> None:
        if self.secrets.pop(name, None) is None:
            raise NotFoundError(f"there is no secret {name!r}")

    async def rekey_secrets(self) -> int:
        return len(self.secrets)

    async def create_token(
        self,
        *,
        ttl_seconds: int = 0,
        max_uses: int = 0,
        labels: Mapping[str, str] | None = None,
        description: str = "",
        max_agents: int = 0,
        scope: str = "",
        networks: Sequence[str] = (),
        approve: bool = False,
    ) -> CreateTokenResponse:
        token = Token(
            id="t1",
            max_uses=max_uses or (0 if max_agents else 1),
            labels=labels or {},
            expires_at=AT + timedelta(seconds=ttl_seconds),
            author="ann",
            max_agents=max_agents,
            scope=scope,
            networks=tuple(networks),
            approve=approve,
        )
        self.tokens[token.id] = token
        return CreateTokenResponse(token=token, secret="hrb_t1.secret", channel=self.channel)

    async def list_tokens(self) -> tuple[Token, ...]:
        return tuple(self.tokens.values())

    async def revoke_token(self, id: str) -> None:
        self.tokens[id] = replace(self.tokens[id], revoked=True)

    async def list_events(
        self, *, pipeline: str = "", agent: str = "", limit: int = 0, before: int = 0
    ) -> tuple[Event, ...]:
        self.asked.append((limit, before))
        found = [event for event in reversed(self.events) if not before or event.revision < before]
        return tuple(found[: limit or None])

    async def watch_events(self, *, after: int = 0, pipeline: str = "", agent: str = "") -> AsyncIterator[Event]:
        yield Event(revision=after + 1, at=AT, kind="watched.event", message="new")
        raise NotFoundError("the end of the test")

    async def query_metrics(self, request: QueryMetricsRequest) -> tuple[MetricLine, ...]:
        self.asked.append(request)
        return self.lines

    async def latest_metrics(self, request: LatestMetricsRequest) -> tuple[Figures, ...]:
        self.asked.append(request)
        if isinstance(self.figures, HeadraceError):
            raise self.figures
        return self.figures

    async def watch_metrics(self, request: WatchMetricsRequest) -> AsyncIterator[tuple[Figures, ...]]:
        self.asked.append(request)
        for _ in range(2):
            yield await self.latest_metrics(LatestMetricsRequest())
        raise NotFoundError("the end of the test")

    async def get_status(self) -> GetStatusResponse:
        return GetStatusResponse(instance_id="i-1", epoch=2, version="0.1.0", agents={"connected": 3}, started_at=AT)

    async def backup(self) -> AsyncIterator[bytes]:
        yield b"one "
        yield b"two"


def agent(name: str, state: AgentState = AgentState.CONNECTED, **labels: str) -> Agent:
    return Agent(id=f"id-{name}", facts=Facts(name=name), labels=labels, state=state, last_seen=AT)


def workload(name: str, phase: Phase, state: AgentState = AgentState.CONNECTED) -> Workload:
    return Workload(pipeline="", agent_id=f"id-{name}", agent_name=name, agent_state=state, phase=phase, generation=11)
