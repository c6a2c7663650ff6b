"""The operators' door: the management API's calls, each one line to the rules."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing
from dataclasses import dataclass, replace
from datetime import datetime

from controlplane.attribution import Attribution, attribute
from controlplane.fleet import Fleet
from controlplane.identity import Approvals, Authorities, People, Tokens, Users, roles
from controlplane.metrics.reading import MetricReader
from controlplane.secrets import Secrets
from controlplane.sessions import Sessions
from controlplane.view import View
from headrace import api
from headrace.errors import ForbiddenError, InvalidError, NotFoundError, UnavailableError
from headrace.server import Caller, Shown


@dataclass(frozen=True, slots=True, kw_only=True)
class About:
    """What this process can say of itself."""

    version: str
    replica: str
    state: str
    started_at: datetime


class ManagementEdge:
    """A `headrace.server.ManagementHandler`."""

    def __init__(
        self,
        *,
        user: str,
        people: People,
        about: About,
        view: View,
        sessions: Sessions,
        fleet: Fleet,
        tokens: Tokens,
        channel: Callable[[], str],
        metrics: MetricReader,
        secrets: Secrets,
        users: Users,
        authorities: Authorities | None,
        approvals: Approvals,
        backup: Callable[[str], AsyncGenerator[bytes, None]],
    ) -> None:
        self._user = user
        self._people = people
        self._about = about
        self._view = view
        self._sessions = sessions
        self._fleet = fleet
        self._tokens = tokens
        self._channel = channel
        self._metrics = metrics
        self._secrets = secrets
        self._users = users
        self._ca = authorities
        self._approvals = approvals
        self._backup = backup

    async def authenticate(self, shown: Shown) -> Caller:
        """Who makes the call, which what it writes says from here on."""
        caller = await self._people.known(shown)
        attribute(Attribution(known_by=caller.known_by, source=caller.source))
        return caller

    async def authorize(self, caller: Caller, method: str) -> None:
        """By the table of roles; a refusal is an event."""
        try:
            roles.check(caller.name, caller.role, method)
        except ForbiddenError as error:
            await self._people.refused(caller, error)
            raise

    async def apply_pipelines(self, request: api.ApplyPipelinesRequest, caller: Caller) -> api.ApplyPipelinesResponse:
        return await self._fleet.pipelines.apply(request, author=caller.name)

    async def delete_pipelines(
        self, request: api.DeletePipelinesRequest, caller: Caller
    ) -> api.DeletePipelinesResponse:
        if request.orphaned_on:
            return await self._fleet.orphans.remove(request, author=caller.name)
        return await self._fleet.pipelines.delete(request, author=caller.name)

    async def rollback_pipeline(
        self, request: api.RollbackPipelineRequest, caller: Caller
    ) -> api.RollbackPipelineResponse:
        return await self._fleet.pipelines.rollback(request, author=caller.name)

    async def list_pipelines(self, request: api.ListPipelinesRequest, caller: Caller) -> api.ListPipelinesResponse:
        return api.ListPipelinesResponse(pipelines=await self._fleet.queries.pipelines(request))

    async def get_pipeline(self, request: api.GetPipelineRequest, caller: Caller) -> api.GetPipelineResponse:
        return api.GetPipelineResponse(pipeline=await self._fleet.queries.pipeline(request))

    async def list_revisions(self, request: api.ListRevisionsRequest, caller: Caller) -> api.ListRevisionsResponse:
        return api.ListRevisionsResponse(revisions=await self._fleet.queries.revisions(request))

    async def watch_pipeline(
        self, request: api.WatchPipelineRequest, caller: Caller
    ) -> AsyncIterator[api.WatchPipelineResponse]:
        async for pipeline in self._fleet.watches.pipeline(request.name):
            yield api.WatchPipelineResponse(pipeline=pipeline)

    async def restart_pipeline(
        self, request: api.RestartPipelineRequest, caller: Caller
    ) -> api.RestartPipelineResponse:
        results = await self._fleet.actions.restart(request.name, request.selector, author=caller.name)
        return api.RestartPipelineResponse(results=results)

    async def retry_pipeline(self, request: api.RetryPipelineRequest, caller: Caller) -> api.RetryPipelineResponse:
        results = await self._fleet.actions.retry(request.name, request.selector, author=caller.name)
        return api.RetryPipelineResponse(results=results)

    async def get_logs(self, request: api.GetLogsRequest, caller: Caller) -> api.GetLogsResponse:
        text = await self._fleet.actions.logs(request)
        # The agent did so already, and knows older values too; but it runs where others are at home.
        return api.GetLogsResponse(text=self._secrets.mask(request.pipeline).text(text))

    async def adopt_workload(self, request: api.AdoptWorkloadRequest, caller: Caller) -> api.AdoptWorkloadResponse:
        return await self._fleet.orphans.adopt(request, author=caller.name)

    async def list_agents(self, request: api.ListAgentsRequest, caller: Caller) -> api.ListAgentsResponse:
        waiting = await self._approvals.matching(request.selector)
        return api.ListAgentsResponse(agents=(*await self._fleet.queries.agents(request), *waiting))

    async def get_agent(self, request: api.GetAgentRequest, caller: Caller) -> api.GetAgentResponse:
        try:
            agent = await self._fleet.queries.agent(request.agent)
        except NotFoundError:  # or it has not enrolled yet
            waiting = await self._approvals.waiting(request.agent)
            if waiting is None:
                raise
            agent = waiting
        return api.GetAgentResponse(agent=agent)

    async def set_labels(self, request: api.SetLabelsRequest, caller: Caller) -> api.SetLabelsResponse:
        agent_id, gained, lost = await self._fleet.agents.set_labels(request, author=caller.name)
        agent = await self._fleet.queries.agent(agent_id)
        return api.SetLabelsResponse(agent=agent, gained=tuple(gained), lost=tuple(lost))

    async def revoke_agent(self, request: api.RevokeAgentRequest, caller: Caller) -> api.RevokeAgentResponse:
        await self._fleet.agents.revoke(request, author=caller.name)
        return api.RevokeAgentResponse()

    async def approve_agent(self, request: api.ApproveAgentRequest, caller: Caller) -> api.ApproveAgentResponse:
        return api.ApproveAgentResponse(id=await self._approvals.approve(request, author=caller.name))

    async def deny_agent(self, request: api.DenyAgentRequest, caller: Caller) -> api.DenyAgentResponse:
        await self._approvals.deny(request, author=caller.name)
        return api.DenyAgentResponse()

    async def set_variables(self, request: api.SetVariablesRequest, caller: Caller) -> api.SetVariablesResponse:
        await self._fleet.agents.set_variables(request, author=caller.name)
        return api.SetVariablesResponse()

    async def list_variables(self, request: api.ListVariablesRequest, caller: Caller) -> api.ListVariablesResponse:
        return api.ListVariablesResponse(variables=await self._fleet.agents.list_variables())

    async def create_token(self, request: api.CreateTokenRequest, caller: Caller) -> api.CreateTokenResponse:
        return replace(await self._tokens.create(request, author=caller.name), channel=self._channel())

    async def list_tokens(self, request: api.ListTokensRequest, caller: Caller) -> api.ListTokensResponse:
        return api.ListTokensResponse(tokens=await self._tokens.list())

    async def revoke_token(self, request: api.RevokeTokenRequest, caller: Caller) -> api.RevokeTokenResponse:
        await self._tokens.revoke(request.id, author=caller.name)
        return api.RevokeTokenResponse()

    async def list_authorities(
        self, request: api.ListAuthoritiesRequest, caller: Caller
    ) -> api.ListAuthoritiesResponse:
        return api.ListAuthoritiesResponse(authorities=await self._authorities().all())

    async def rotate_authority(
        self, request: api.RotateAuthorityRequest, caller: Caller
    ) -> api.RotateAuthorityResponse:
        return api.RotateAuthorityResponse(authority=await self._authorities().rotate(author=caller.name))

    async def finish_rotation(self, request: api.FinishRotationRequest, caller: Caller) -> api.FinishRotationResponse:
        ended = await self._authorities().finish(author=caller.name, force=request.force)
        return api.FinishRotationResponse(ended=ended)

    async def create_user(self, request: api.CreateUserRequest, caller: Caller) -> api.CreateUserResponse:
        if request.name == self._user:
            raise InvalidError(f"{request.name!r} is who started this control plane; choose another name")
        return await self._users.create(request, author=caller.name)

    async def list_users(self, request: api.ListUsersRequest, caller: Caller) -> api.ListUsersResponse:
        return api.ListUsersResponse(users=await self._users.list())

    async def revoke_user(self, request: api.RevokeUserRequest, caller: Caller) -> api.RevokeUserResponse:
        await self._users.revoke(request.name, author=caller.name)
        return api.RevokeUserResponse()

    async def set_secret(self, request: api.SetSecretRequest, caller: Caller) -> api.SetSecretResponse:
        return await self._secrets.set(request, author=caller.name)

    async def list_secrets(self, request: api.ListSecretsRequest, caller: Caller) -> api.ListSecretsResponse:
        return api.ListSecretsResponse(secrets=await self._secrets.list())

    async def delete_secret(self, request: api.DeleteSecretRequest, caller: Caller) -> api.DeleteSecretResponse:
        await self._secrets.delete(request.name, author=caller.name)
        return api.DeleteSecretResponse()

    async def rekey_secrets(self, request: api.RekeySecretsRequest, caller: Caller) -> api.RekeySecretsResponse:
        return api.RekeySecretsResponse(changed=await self._secrets.rekey(author=caller.name))

    async def list_events(self, request: api.ListEventsRequest, caller: Caller) -> api.ListEventsResponse:
        return api.ListEventsResponse(events=await self._fleet.queries.events(request))

    async def watch_events(
        self, request: api.WatchEventsRequest, caller: Caller
    ) -> AsyncIterator[api.WatchEventsResponse]:
        async for event in self._fleet.watches.events(request):
            yield api.WatchEventsResponse(event=event)

    async def query_metrics(self, request: api.QueryMetricsRequest, caller: Caller) -> api.QueryMetricsResponse:
        return await self._metrics.query(request)

    async def latest_metrics(self, request: api.LatestMetricsRequest, caller: Caller) -> api.LatestMetricsResponse:
        return await self._metrics.latest(request)

    async def watch_metrics(
        self, request: api.WatchMetricsRequest, caller: Caller
    ) -> AsyncIterator[api.WatchMetricsResponse]:
        async for answer in self._metrics.watch(request):
            yield answer

    async def get_status(self, request: api.GetStatusRequest, caller: Caller) -> api.GetStatusResponse:
        plane, about = self._view.plane, self._about
        return api.GetStatusResponse(
            instance_id=plane.instance_id,
            epoch=plane.epoch,
            fleet_revision=plane.fleet_revision,
            generation=plane.generation,
            version=about.version,
            replica=about.replica,
            state=about.state,
            metrics=self._metrics.summary,
            started_at=about.started_at,
            agents=Counter(agent.row.state.value for agent in self._view.agents.values()),
            pipelines=sum(not pipeline.row.deleted for pipeline in self._view.pipelines.values()),
            sessions=len(self._sessions),
        )

    async def backup(self, request: api.BackupRequest, caller: Caller) -> AsyncIterator[api.BackupResponse]:
        async with aclosing(self._backup(caller.name)) as pieces:
            async for piece in pieces:
                yield api.BackupResponse(data=piece)

    def _authorities(self) -> Authorities:
        if self._ca is None:
            raise UnavailableError("this control plane issues no certificates; start it with --ca-cert and --ca-key")
        return self._ca
