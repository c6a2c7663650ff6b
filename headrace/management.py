"""The typed client of the management API: what the CLI, CI and integrators use.

    async with ManagementClient() as plane:
        for pipeline in await plane.list_pipelines(): ...

One method per RPC. Where an answer has one field, that field is returned. Every failure is a HeadraceError of
`headrace.errors`; a control plane that cannot be reached is an UnavailableError that names the address. A client
belongs to one event loop; its calls may run concurrently.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from types import TracebackType
from typing import Self, TypeVar, cast

from headrace import api, local
from headrace.connection import Connection
from headrace.rpcs.management import MANAGEMENT
from headrace.rpcs.rpc import Rpc
from headrace.security import ClientTls
from headrace.types import KnownBy, Role

T = TypeVar("T")

_HINT = "start one with `headrace up`, or name another by --server or HEADRACE_SERVER"


class ManagementClient:
    """A client of one control plane; an async context manager."""

    def __init__(
        self,
        address: str = "",
        token: str = "",
        *,
        tls: ClientTls | None = None,
        insecure: bool = False,
        timeout: float | None = 30.0,
    ) -> None:
        """Without address and token, both are found by `headrace.local`, and so are TLS files without `tls`.

        `timeout` is per call, in seconds; streams have none. Without TLS the address must be on loopback, unless
        `insecure`: else InvalidError.
        """
        endpoint = local.find(address=address, token=token)
        self.address = endpoint.address
        self._timeout = timeout
        self._connection = Connection(
            endpoint.address, credential=endpoint.token, tls=tls or endpoint.tls(), insecure=insecure, hint=_HINT
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Ends the connection and every call on it."""
        await self._connection.close()

    # Pipelines

    async def apply_pipelines(
        self,
        manifests: Sequence[api.Manifest],
        *,
        reason: str = "",
        dry_run: bool = False,
        force: bool = False,
        prune: str = "",
        if_revision: int | None = None,
        confirm: int = 0,
    ) -> api.ApplyPipelinesResponse:
        """Applies all or nothing; `prune` is a selector over labels, `confirm` how many agents may lose pipelines."""
        request = api.ApplyPipelinesRequest(
            manifests=tuple(manifests),
            reason=reason,
            dry_run=dry_run,
            force=force,
            prune=prune,
            if_revision=if_revision,
            confirm=confirm,
        )
        return await self._call(request, api.ApplyPipelinesResponse)

    async def delete_pipelines(
        self,
        names: Sequence[str],
        *,
        reason: str = "",
        dry_run: bool = False,
        confirm: int = 0,
        purge: bool = False,
        orphaned_on: str = "",
    ) -> api.DeletePipelinesResponse:
        """Deletes all or nothing; with `orphaned_on`, the orphaned workloads of these names on that agent."""
        request = api.DeletePipelinesRequest(
            names=tuple(names),
            reason=reason,
            dry_run=dry_run,
            confirm=confirm,
            purge=purge,
            orphaned_on=orphaned_on,
        )
        return await self._call(request, api.DeletePipelinesResponse)

    async def rollback_pipeline(
        self, name: str, *, to_revision: int = 0, reason: str = "", confirm: int = 0, force: bool = False
    ) -> api.RollbackPipelineResponse:
        """Makes a new revision with the content of an old one; 0 is the one before the current."""
        request = api.RollbackPipelineRequest(
            name=name, to_revision=to_revision, reason=reason, confirm=confirm, force=force
        )
        return await self._call(request, api.RollbackPipelineResponse)

    async def list_pipelines(self, selector: str = "") -> tuple[api.Pipeline, ...]:
        """Those whose own labels match; empty is all."""
        response = await self._call(api.ListPipelinesRequest(selector=selector), api.ListPipelinesResponse)
        return response.pipelines

    async def get_pipeline(self, name: str, *, revision: int = 0) -> api.Pipeline:
        """A pipeline with its workloads; 0 is the current revision."""
        response = await self._call(api.GetPipelineRequest(name=name, revision=revision), api.GetPipelineResponse)
        return response.pipeline

    async def list_revisions(self, name: str, *, limit: int = 0) -> tuple[api.Revision, ...]:
        """Newest first; 0 is as many as the server gives."""
        response = await self._call(api.ListRevisionsRequest(name=name, limit=limit), api.ListRevisionsResponse)
        return response.revisions

    async def watch_pipeline(self, name: str) -> AsyncIterator[api.Pipeline]:
        """What is, then every change, until the caller stops; ends with UnavailableError when the server goes."""
        async for item in self._stream(api.WatchPipelineRequest(name=name), api.WatchPipelineResponse):
            yield item.pipeline

    async def restart_pipeline(self, name: str, *, selector: str = "") -> tuple[api.CommandResult, ...]:
        """Restarts the engines of a pipeline, on the agents that match; empty is all that run it."""
        request = api.RestartPipelineRequest(name=name, selector=selector)
        return (await self._call(request, api.RestartPipelineResponse)).results

    async def retry_pipeline(self, name: str, *, selector: str = "") -> tuple[api.CommandResult, ...]:
        """Lifts the quarantine and tries the desired generation again."""
        request = api.RetryPipelineRequest(name=name, selector=selector)
        return (await self._call(request, api.RetryPipelineResponse)).results

    async def get_logs(self, pipeline: str, agent: str, *, lines: int = 100) -> str:
        """The last lines of a workload's log; `agent` is an id or a name."""
        request = api.GetLogsRequest(pipeline=pipeline, agent=agent, lines=lines)
        return (await self._call(request, api.GetLogsResponse)).text

    async def adopt_workload(self, pipeline: str, agent: str, *, selector: str, reason: str = "") -> api.Change:
        """Makes an orphaned workload's content a pipeline of this instance."""
        request = api.AdoptWorkloadRequest(pipeline=pipeline, agent=agent, selector=selector, reason=reason)
        return (await self._call(request, api.AdoptWorkloadResponse)).change

    # Agents

    async def list_agents(self, selector: str = "", *, all: bool = False) -> tuple[api.Agent, ...]:
        """Agents whose effective labels match; with `all`, gone and revoked ones too."""
        response = await self._call(api.ListAgentsRequest(selector=selector, all=all), api.ListAgentsResponse)
        return response.agents

    async def get_agent(self, agent: str) -> api.Agent:
        """By id or name, with its workloads."""
        return (await self._call(api.GetAgentRequest(agent=agent), api.GetAgentResponse)).agent

    async def set_labels(
        self, agent: str, *, set: Mapping[str, str] | None = None, unset: Sequence[str] = (), confirm: int = 0
    ) -> api.SetLabelsResponse:
        """Changes the operator's labels of an agent; answers what it gained and lost."""
        request = api.SetLabelsRequest(agent=agent, set=set or {}, unset=tuple(unset), confirm=confirm)
        return await self._call(request, api.SetLabelsResponse)

    async def revoke_agent(self, agent: str, *, reason: str = "") -> None:
        """Takes an agent's credential away, for good."""
        await self._call(api.RevokeAgentRequest(agent=agent, reason=reason), api.RevokeAgentResponse)

    async def approve_agent(self, agent: str, *, replaces: str = "") -> str:
        """Lets in one that waits for it, as an agent that is known where `replaces` says so; the id that it gets."""
        request = api.ApproveAgentRequest(agent=agent, replaces=replaces)
        return (await self._call(request, api.ApproveAgentResponse)).id

    async def deny_agent(self, agent: str, *, reason: str = "") -> None:
        """Refuses one that waits."""
        await self._call(api.DenyAgentRequest(agent=agent, reason=reason), api.DenyAgentResponse)

    async def set_variables(self, *, set: Sequence[api.Variable] = (), unset: Sequence[api.Variable] = ()) -> None:
        """Sets and unsets variables, by name and selector."""
        request = api.SetVariablesRequest(set=tuple(set), unset=tuple(unset))
        await self._call(request, api.SetVariablesResponse)

    async def list_variables(self) -> tuple[api.Variable, ...]:
        """All variables that operators set."""
        return (await self._call(api.ListVariablesRequest(), api.ListVariablesResponse)).variables

    # Tokens

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
    ) -> api.CreateTokenResponse:
        """A bootstrap token for agents and its secret, shown this once; defaults are one hour and one use.

        `labels` are stamped; `scope` (selector text) and `networks` (CIDRs) say what may be claimed, and from where.
        With `approve` an operator has to approve of each agent.
        """
        request = api.CreateTokenRequest(
            ttl_seconds=ttl_seconds,
            max_uses=max_uses,
            labels=labels or {},
            description=description,
            max_agents=max_agents,
            scope=scope,
            networks=tuple(networks),
            approve=approve,
        )
        return await self._call(request, api.CreateTokenResponse)

    async def list_tokens(self) -> tuple[api.Token, ...]:
        """Without their secrets."""
        return (await self._call(api.ListTokensRequest(), api.ListTokensResponse)).tokens

    async def revoke_token(self, id: str) -> None:
        """Nobody enrols with it any more; agents that did stay."""
        await self._call(api.RevokeTokenRequest(id=id), api.RevokeTokenResponse)

    # Authorities

    async def list_authorities(self) -> tuple[api.CertificateAuthority, ...]:
        """By whom agents' certificates are known; the one that signs first."""
        return (await self._call(api.ListAuthoritiesRequest(), api.ListAuthoritiesResponse)).authorities

    async def rotate_authority(self) -> api.CertificateAuthority:
        """Another one signs from now on; those before it are trusted until their last certificate has ended."""
        return (await self._call(api.RotateAuthorityRequest(), api.RotateAuthorityResponse)).authority

    async def finish_rotation(self, *, force: bool = False) -> tuple[api.CertificateAuthority, ...]:
        """Ends the trust in those before the one that signs. Raises ConflictError while connected agents need them."""
        return (await self._call(api.FinishRotationRequest(force=force), api.FinishRotationResponse)).ended

    # Users

    async def create_user(
        self,
        name: str,
        role: Role,
        *,
        ttl_seconds: int = 0,
        description: str = "",
        known_by: KnownBy | None = None,
        subject: str = "",
    ) -> api.CreateUserResponse:
        """Somebody who may use this API, and the token, shown this once; without a time it does not end.

        Known by a certificate, a header or a group, they have no token: `subject` is whom that names.
        """
        request = api.CreateUserRequest(
            name=name,
            role=role,
            ttl_seconds=ttl_seconds,
            description=description,
            known_by=known_by,
            subject=subject,
        )
        return await self._call(request, api.CreateUserResponse)

    async def list_users(self) -> tuple[api.User, ...]:
        """Without their tokens."""
        return (await self._call(api.ListUsersRequest(), api.ListUsersResponse)).users

    async def revoke_user(self, name: str) -> None:
        """Their token is good for nothing any more."""
        await self._call(api.RevokeUserRequest(name=name), api.RevokeUserResponse)

    # Secrets

    async def set_secret(self, name: str, value: bytes) -> api.SetSecretResponse:
        """Makes a secret, or gives it a new value, which pipelines that name it then run with."""
        return await self._call(api.SetSecretRequest(name=name, value=value), api.SetSecretResponse)

    async def list_secrets(self) -> tuple[api.SecretInfo, ...]:
        """Without their values, which never come back."""
        return (await self._call(api.ListSecretsRequest(), api.ListSecretsResponse)).secrets

    async def delete_secret(self, name: str) -> None:
        """Refused while a pipeline names it."""
        await self._call(api.DeleteSecretRequest(name=name), api.DeleteSecretResponse)

    async def rekey_secrets(self) -> int:
        """Encrypts all with the first key of the plane's key file; how many had another one."""
        return (await self._call(api.RekeySecretsRequest(), api.RekeySecretsResponse)).changed

    # Events

    async def list_events(
        self, *, pipeline: str = "", agent: str = "", limit: int = 0, before: int = 0
    ) -> tuple[api.Event, ...]:
        """Newest first; `before` is a fleet revision, 0 is from the newest."""
        request = api.ListEventsRequest(pipeline=pipeline, agent=agent, limit=limit, before=before)
        return (await self._call(request, api.ListEventsResponse)).events

    async def watch_events(self, *, after: int = 0, pipeline: str = "", agent: str = "") -> AsyncIterator[api.Event]:
        """Events after a fleet revision, 0 is from now on; ends with UnavailableError when the server goes."""
        request = api.WatchEventsRequest(after=after, pipeline=pipeline, agent=agent)
        async for item in self._stream(request, api.WatchEventsResponse):
            yield item.event

    # Metrics

    async def query_metrics(self, request: api.QueryMetricsRequest) -> tuple[api.MetricLine, ...]:
        """One metric over time, by group. Raises UnavailableError where none are kept, or their store is away."""
        return (await self._call(request, api.QueryMetricsResponse)).lines

    async def latest_metrics(self, request: api.LatestMetricsRequest) -> tuple[api.Figures, ...]:
        """What people ask for, as it is now, by group. Raises UnavailableError as `query_metrics` does."""
        return (await self._call(request, api.LatestMetricsResponse)).figures

    async def watch_metrics(self, request: api.WatchMetricsRequest) -> AsyncIterator[tuple[api.Figures, ...]]:
        """The same again and again."""
        async for item in self._stream(request, api.WatchMetricsResponse):
            yield item.figures

    # Plane

    async def get_status(self) -> api.GetStatusResponse:
        """How the control plane is doing, and its numbers."""
        return await self._call(api.GetStatusRequest(), api.GetStatusResponse)

    async def backup(self) -> AsyncIterator[bytes]:
        """The whole state as of one moment, in pieces."""
        async for item in self._stream(api.BackupRequest(), api.BackupResponse):
            yield item.data

    async def _call(self, request: object, response: type[T]) -> T:
        return cast("T", await self._connection.unary(_rpc(request), request, timeout=self._timeout))

    def _stream(self, request: object, response: type[T]) -> AsyncIterator[T]:
        return cast("AsyncIterator[T]", self._connection.server_stream(_rpc(request), request))


def _rpc(request: object) -> Rpc:
    return MANAGEMENT[type(request).__name__.removesuffix("Request")]
