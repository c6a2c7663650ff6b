"""Serves the management API over a `ManagementHandler` that the host implements.

Which methods there are, what they take and whether they stream is read from the descriptors: a new RPC needs a method
of the handler and nothing here but its signature.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import defaultdict
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import grpc

from headrace import api, codec
from headrace.rpcs.management import MANAGEMENT
from headrace.rpcs.rpc import Rpc
from headrace.security import credential_of, subject_of, texts_of
from headrace.server.answers import Context, answered
from headrace.types import KnownBy, Role


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """What a call shows of who makes it: a bearer token, its headers, and whom a verified certificate names."""

    credential: str = field(default="", repr=False)
    peer: str = ""
    headers: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    subject: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """Who calls: a name for the record (revisions, events), the address it came from, and what it may do."""

    name: str
    peer: str = ""
    role: Role = Role.READ
    known_by: KnownBy | None = None
    source: str = ""
    """The address alone; behind a proxy that is trusted, with the one that it speaks for."""


class ManagementHandler(Protocol):
    """What a host does for people and programs: one method per RPC, in snake case, over the dataclasses of `api`.

    All calls are concurrent. A HeadraceError becomes the call's status; anything else is logged and becomes INTERNAL.
    A streaming method is an async generator; it is closed when the caller leaves.
    """

    async def authenticate(self, shown: Shown) -> Caller:
        """Who makes a call, before every call, and again while a stream lasts. Raises UnauthenticatedError."""

    async def authorize(self, caller: Caller, method: str) -> None:
        """Whether they may call this method, before it is called. Raises ForbiddenError."""

    # Pipelines

    async def apply_pipelines(
        self, request: api.ApplyPipelinesRequest, caller: Caller
    ) -> api.ApplyPipelinesResponse: ...

    async def delete_pipelines(
        self, request: api.DeletePipelinesRequest, caller: Caller
    ) -> api.DeletePipelinesResponse: ...

    async def rollback_pipeline(
        self, request: api.RollbackPipelineRequest, caller: Caller
    ) -> api.RollbackPipelineResponse: ...

    async def list_pipelines(self, request: api.ListPipelinesRequest, caller: Caller) -> api.ListPipelinesResponse: ...

    async def get_pipeline(self, request: api.GetPipelineRequest, caller: Caller) -> api.GetPipelineResponse: ...

    async def list_revisions(self, request: api.ListRevisionsRequest, caller: Caller) -> api.ListRevisionsResponse: ...

    def watch_pipeline(
        self, request: api.WatchPipelineRequest, caller: Caller
    ) -> AsyncIterator[api.WatchPipelineResponse]: ...

    async def restart_pipeline(
        self, request: api.RestartPipelineRequest, caller: Caller
    ) -> api.RestartPipelineResponse: ...

    async def retry_pipeline(self, request: api.RetryPipelineRequest, caller: Caller) -> api.RetryPipelineResponse: ...

    async def get_logs(self, request: api.GetLogsRequest, caller: Caller) -> api.GetLogsResponse: ...

    async def adopt_workload(self, request: api.AdoptWorkloadRequest, caller: Caller) -> api.AdoptWorkloadResponse: ...

    # Agents

    async def list_agents(self, request: api.ListAgentsRequest, caller: Caller) -> api.ListAgentsResponse: ...

    async def get_agent(self, request: api.GetAgentRequest, caller: Caller) -> api.GetAgentResponse: ...

    async def set_labels(self, request: api.SetLabelsRequest, caller: Caller) -> api.SetLabelsResponse: ...

    async def revoke_agent(self, request: api.RevokeAgentRequest, caller: Caller) -> api.RevokeAgentResponse: ...

    async def approve_agent(self, request: api.ApproveAgentRequest, caller: Caller) -> api.ApproveAgentResponse: ...

    async def deny_agent(self, request: api.DenyAgentRequest, caller: Caller) -> api.DenyAgentResponse: ...

    async def set_variables(self, request: api.SetVariablesRequest, caller: Caller) -> api.SetVariablesResponse: ...

    async def list_variables(self, request: api.ListVariablesRequest, caller: Caller) -> api.ListVariablesResponse: ...

    # Tokens

    async def create_token(self, request: api.CreateTokenRequest, caller: Caller) -> api.CreateTokenResponse: ...

    async def list_tokens(self, request: api.ListTokensRequest, caller: Caller) -> api.ListTokensResponse: ...

    async def revoke_token(self, request: api.RevokeTokenRequest, caller: Caller) -> api.RevokeTokenResponse: ...

    # Authorities

    async def list_authorities(
        self, request: api.ListAuthoritiesRequest, caller: Caller
    ) -> api.ListAuthoritiesResponse: ...

    async def rotate_authority(
        self, request: api.RotateAuthorityRequest, caller: Caller
    ) -> api.RotateAuthorityResponse: ...

    async def finish_rotation(
        self, request: api.FinishRotationRequest, caller: Caller
    ) -> api.FinishRotationResponse: ...

    # Users

    async def create_user(self, request: api.CreateUserRequest, caller: Caller) -> api.CreateUserResponse: ...

    async def list_users(self, request: api.ListUsersRequest, caller: Caller) -> api.ListUsersResponse: ...

    async def revoke_user(self, request: api.RevokeUserRequest, caller: Caller) -> api.RevokeUserResponse: ...

    # Secrets

    async def set_secret(self, request: api.SetSecretRequest, caller: Caller) -> api.SetSecretResponse: ...

    async def list_secrets(self, request: api.ListSecretsRequest, caller: Caller) -> api.ListSecretsResponse: ...

    async def delete_secret(self, request: api.DeleteSecretRequest, caller: Caller) -> api.DeleteSecretResponse: ...

    async def rekey_secrets(self, request: api.RekeySecretsRequest, caller: Caller) -> api.RekeySecretsResponse: ...

    # Events

    async def list_events(self, request: api.ListEventsRequest, caller: Caller) -> api.ListEventsResponse: ...

    def watch_events(
        self, request: api.WatchEventsRequest, caller: Caller
    ) -> AsyncIterator[api.WatchEventsResponse]: ...

    # Metrics

    async def query_metrics(self, request: api.QueryMetricsRequest, caller: Caller) -> api.QueryMetricsResponse: ...

    async def latest_metrics(self, request: api.LatestMetricsRequest, caller: Caller) -> api.LatestMetricsResponse: ...

    def watch_metrics(
        self, request: api.WatchMetricsRequest, caller: Caller
    ) -> AsyncIterator[api.WatchMetricsResponse]: ...

    # Plane

    async def get_status(self, request: api.GetStatusRequest, caller: Caller) -> api.GetStatusResponse: ...

    def backup(self, request: api.BackupRequest, caller: Caller) -> AsyncIterator[api.BackupResponse]: ...


class ManagementService:
    """The management services; a listener starts, drains and stops it.

    A stream may last for days: whether its caller may still have it is asked again before an item, when that was last
    asked `trusted_s` ago. With `certificates` a caller's certificate names a person: the listener demands one by an
    authority that is for people.
    """

    names = tuple(dict.fromkeys(rpc.service for rpc in MANAGEMENT.values()))

    def __init__(self, handler: ManagementHandler, *, trusted_s: float = 1.0, certificates: bool = False) -> None:
        self._handler = handler
        self._trusted_s = trusted_s
        self._certificates = certificates

    async def start(self) -> None:
        """Nothing to look after."""

    async def drain(self, window_ms: int, message: str = "") -> None:
        """Calls are short; streams end with the listener."""

    async def stop(self) -> None:
        """Nothing is left."""

    def handlers(self) -> Mapping[str, Mapping[str, grpc.RpcMethodHandler[Any, Any]]]:
        """The methods of each service, by name, over bytes."""
        services: dict[str, dict[str, grpc.RpcMethodHandler[Any, Any]]] = defaultdict(dict)
        for rpc in MANAGEMENT.values():
            services[rpc.service][rpc.name] = self._stream(rpc) if rpc.server_streaming else self._unary(rpc)
        return services

    def _unary(self, rpc: Rpc) -> grpc.RpcMethodHandler[Any, Any]:
        method = getattr(self._handler, rpc.method)

        async def serve(data: bytes, context: Context) -> bytes:
            caller = await self._caller(context, rpc)
            return codec.encode(await method(codec.decode(rpc.request, data), caller))

        return grpc.unary_unary_rpc_method_handler(answered(rpc.name, serve))

    def _stream(self, rpc: Rpc) -> grpc.RpcMethodHandler[Any, Any]:
        method = getattr(self._handler, rpc.method)

        async def serve(data: bytes, context: Context) -> None:
            clock = asyncio.get_running_loop().time
            caller, asked = await self._caller(context, rpc), clock()
            async with contextlib.aclosing(method(codec.decode(rpc.request, data), caller)) as items:
                async for item in items:
                    if clock() - asked >= self._trusted_s:
                        _, asked = await self._caller(context, rpc), clock()
                    await context.write(codec.encode(item))

        return grpc.unary_stream_rpc_method_handler(answered(rpc.name, serve))

    async def _caller(self, context: Context, rpc: Rpc) -> Caller:
        metadata = context.invocation_metadata()
        shown = Shown(
            credential=credential_of(metadata),
            peer=context.peer(),
            headers=texts_of(metadata),
            subject=subject_of(context.auth_context()) if self._certificates else "",
        )
        caller = await self._handler.authenticate(shown)
        await self._handler.authorize(caller, rpc.method)
        return caller
