"""The typed client and the management services over a real listener: every RPC, every error, streams, and strangers."""

from __future__ import annotations

import asyncio
import typing
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from typing import Any

import grpc
import grpc.aio
import pytest

from headrace import api
from headrace.errors import (
    ConfirmError,
    ForbiddenError,
    HeadraceError,
    InvalidError,
    NotFoundError,
    ProtocolError,
    UnauthenticatedError,
    UnavailableError,
)
from headrace.management import ManagementClient
from headrace.rpcs.management import MANAGEMENT
from headrace.rpcs.rpc import Rpc
from headrace.security import bearer
from headrace.server import Caller, Listener, ManagementHandler, ManagementService, Shown
from headrace.testing import SeverableProxy
from headrace.types import Facts, Fault, Phase, Role

MANIFEST = api.Manifest(name="edge", labels={"team": "web"}, selector="*", config="pipeline: {}")
PIPELINE = api.Pipeline(manifest=MANIFEST, revision=2, phases={Phase.GOOD.value: 3})
CHANGE = api.Change(pipeline="edge", revision=2)
AGENT = api.Agent(id="a-1", facts=Facts(name="a"))
TOKEN = api.Token(id="t")
USER = api.User(name="ann", role=Role.EDIT)
AUTHORITY = api.CertificateAuthority(fingerprint="ab", certificate=b"pem", signs=True, agents=2)
SECRET = api.SecretInfo(name="api", version=2, pipelines=("edge",), problem="its key is lost")
EVENT = api.Event(revision=1, kind="pipeline.applied")
VARIABLE = api.Variable(name="REGION", value="eu", selector="*")
RESULT = api.CommandResult(agent_id="a-1", agent_name="edge-1", ok=True)


class Handler:
    """Answers each RPC with what `answers` has for its request, and keeps what came."""

    def __init__(self) -> None:
        self.came: list[tuple[object, Caller]] = []
        self.answers: dict[type, list[object]] = {}
        self.error: BaseException | None = None
        self.forbidden = False
        self.left = asyncio.Event()

    async def authenticate(self, shown: Shown) -> Caller:
        if shown.credential != "good":
            raise UnauthenticatedError("the token is not known; see HEADRACE_TOKEN")
        return Caller(name="operator", peer=shown.peer)

    async def authorize(self, caller: Caller, method: str) -> None:
        if self.forbidden:
            raise ForbiddenError(f"{caller.name} may not {method}")

    def __getattr__(self, method: str) -> Callable[..., Any]:
        rpc = next((rpc for rpc in MANAGEMENT.values() if rpc.method == method), None)
        if rpc is None:
            raise AttributeError(method)
        return self._stream if rpc.server_streaming else self._unary

    async def _unary(self, request: object, caller: Caller) -> object:
        self.came.append((request, caller))
        if self.error is not None:
            raise self.error
        (answer,) = self.answers[type(request)]
        return answer

    async def _stream(self, request: object, caller: Caller) -> AsyncIterator[object]:
        self.came.append((request, caller))
        try:
            for answer in self.answers[type(request)]:
                yield answer
            if self.error is not None:
                raise self.error
            await asyncio.Event().wait()
        finally:
            self.left.set()


@pytest.fixture
def handler() -> Handler:
    return Handler()


@pytest.fixture
async def listener(handler: Handler) -> AsyncIterator[Listener]:
    service = ManagementService(typing.cast("ManagementHandler", handler))
    async with Listener("127.0.0.1:0", [service]) as listener:
        yield listener


@pytest.fixture
async def client(listener: Listener) -> AsyncIterator[ManagementClient]:
    async with ManagementClient(listener.address, "good") as client:
        yield client


LINE = api.MetricLine(tags={"agent": "a"}, points=(api.MetricPoint(at=datetime(2026, 1, 1, tzinfo=UTC), value=0.5),))
FIGURES = api.Figures(tags={"agent": "a"}, at=datetime(2026, 1, 1, tzinfo=UTC), values={"records_in": 1.5})
CALLS: list[tuple[Callable[[ManagementClient], Any], object, object, object]] = [
    (
        lambda c: c.apply_pipelines([MANIFEST], reason="why", dry_run=True, if_revision=0, confirm=3, prune="a=b"),
        api.ApplyPipelinesRequest(
            manifests=(MANIFEST,), reason="why", dry_run=True, if_revision=0, confirm=3, prune="a=b"
        ),
        api.ApplyPipelinesResponse(changes=(CHANGE,), fleet_revision=7),
        api.ApplyPipelinesResponse(changes=(CHANGE,), fleet_revision=7),
    ),
    (
        lambda c: c.delete_pipelines(["edge"], purge=True, orphaned_on="a-1"),
        api.DeletePipelinesRequest(names=("edge",), purge=True, orphaned_on="a-1"),
        api.DeletePipelinesResponse(changes=(CHANGE,)),
        api.DeletePipelinesResponse(changes=(CHANGE,)),
    ),
    (
        lambda c: c.rollback_pipeline("edge", to_revision=1),
        api.RollbackPipelineRequest(name="edge", to_revision=1),
        api.RollbackPipelineResponse(change=CHANGE),
        api.RollbackPipelineResponse(change=CHANGE),
    ),
    (
        lambda c: c.list_pipelines("team=web"),
        api.ListPipelinesRequest(selector="team=web"),
        api.ListPipelinesResponse(pipelines=(PIPELINE,)),
        (PIPELINE,),
    ),
    (
        lambda c: c.get_pipeline("edge", revision=2),
        api.GetPipelineRequest(name="edge", revision=2),
        api.GetPipelineResponse(pipeline=PIPELINE),
        PIPELINE,
    ),
    (
        lambda c: c.list_revisions("edge", limit=5),
        api.ListRevisionsRequest(name="edge", limit=5),
        api.ListRevisionsResponse(revisions=(api.Revision(pipeline="edge", number=1),)),
        (api.Revision(pipeline="edge", number=1),),
    ),
    (
        lambda c: c.restart_pipeline("edge", selector="x"),
        api.RestartPipelineRequest(name="edge", selector="x"),
        api.RestartPipelineResponse(results=(RESULT,)),
        (RESULT,),
    ),
    (
        lambda c: c.retry_pipeline("edge"),
        api.RetryPipelineRequest(name="edge"),
        api.RetryPipelineResponse(results=(RESULT,)),
        (RESULT,),
    ),
    (
        lambda c: c.get_logs("edge", "a-1", lines=3),
        api.GetLogsRequest(pipeline="edge", agent="a-1", lines=3),
        api.GetLogsResponse(text="log"),
        "log",
    ),
    (
        lambda c: c.adopt_workload("edge", "a-1", selector="*", reason="ours"),
        api.AdoptWorkloadRequest(pipeline="edge", agent="a-1", selector="*", reason="ours"),
        api.AdoptWorkloadResponse(change=CHANGE),
        CHANGE,
    ),
    (
        lambda c: c.list_agents("role=edge", all=True),
        api.ListAgentsRequest(selector="role=edge", all=True),
        api.ListAgentsResponse(agents=(AGENT,)),
        (AGENT,),
    ),
    (lambda c: c.get_agent("a"), api.GetAgentRequest(agent="a"), api.GetAgentResponse(agent=AGENT), AGENT),
    (
        lambda c: c.set_labels("a", set={"x": "y"}, unset=["z"], confirm=1),
        api.SetLabelsRequest(agent="a", set={"x": "y"}, unset=("z",), confirm=1),
        api.SetLabelsResponse(agent=AGENT, gained=("edge",)),
        api.SetLabelsResponse(agent=AGENT, gained=("edge",)),
    ),
    (
        lambda c: c.revoke_agent("a", reason="lost"),
        api.RevokeAgentRequest(agent="a", reason="lost"),
        api.RevokeAgentResponse(),
        None,
    ),
    (
        lambda c: c.set_variables(set=[VARIABLE], unset=[VARIABLE]),
        api.SetVariablesRequest(set=(VARIABLE,), unset=(VARIABLE,)),
        api.SetVariablesResponse(),
        None,
    ),
    (
        lambda c: c.list_variables(),
        api.ListVariablesRequest(),
        api.ListVariablesResponse(variables=(VARIABLE,)),
        (VARIABLE,),
    ),
    (
        lambda c: c.create_token(ttl_seconds=60, max_uses=2, labels={"a": "b"}),
        api.CreateTokenRequest(ttl_seconds=60, max_uses=2, labels={"a": "b"}),
        api.CreateTokenResponse(token=TOKEN, secret="s"),
        api.CreateTokenResponse(token=TOKEN, secret="s"),
    ),
    (lambda c: c.list_tokens(), api.ListTokensRequest(), api.ListTokensResponse(tokens=(TOKEN,)), (TOKEN,)),
    (lambda c: c.revoke_token("t"), api.RevokeTokenRequest(id="t"), api.RevokeTokenResponse(), None),
    (
        lambda c: c.create_user("ann", Role.EDIT, ttl_seconds=60, description="of the web team"),
        api.CreateUserRequest(name="ann", role=Role.EDIT, ttl_seconds=60, description="of the web team"),
        api.CreateUserResponse(user=USER, token="t"),
        api.CreateUserResponse(user=USER, token="t"),
    ),
    (
        lambda c: c.approve_agent("edge-1", replaces="a-1"),
        api.ApproveAgentRequest(agent="edge-1", replaces="a-1"),
        api.ApproveAgentResponse(id="a-1"),
        "a-1",
    ),
    (
        lambda c: c.deny_agent("edge-1", reason="unknown"),
        api.DenyAgentRequest(agent="edge-1", reason="unknown"),
        api.DenyAgentResponse(),
        None,
    ),
    (
        lambda c: c.list_authorities(),
        api.ListAuthoritiesRequest(),
        api.ListAuthoritiesResponse(authorities=(AUTHORITY,)),
        (AUTHORITY,),
    ),
    (
        lambda c: c.rotate_authority(),
        api.RotateAuthorityRequest(),
        api.RotateAuthorityResponse(authority=AUTHORITY),
        AUTHORITY,
    ),
    (
        lambda c: c.finish_rotation(force=True),
        api.FinishRotationRequest(force=True),
        api.FinishRotationResponse(ended=(AUTHORITY,)),
        (AUTHORITY,),
    ),
    (lambda c: c.list_users(), api.ListUsersRequest(), api.ListUsersResponse(users=(USER,)), (USER,)),
    (lambda c: c.revoke_user("ann"), api.RevokeUserRequest(name="ann"), api.RevokeUserResponse(), None),
    (
        lambda c: c.set_secret("api", b"kingfisher"),
        api.SetSecretRequest(name="api", value=b"kingfisher"),
        api.SetSecretResponse(secret=SECRET, changed=True),
        api.SetSecretResponse(secret=SECRET, changed=True),
    ),
    (lambda c: c.list_secrets(), api.ListSecretsRequest(), api.ListSecretsResponse(secrets=(SECRET,)), (SECRET,)),
    (lambda c: c.delete_secret("api"), api.DeleteSecretRequest(name="api"), api.DeleteSecretResponse(), None),
    (lambda c: c.rekey_secrets(), api.RekeySecretsRequest(), api.RekeySecretsResponse(changed=3), 3),
    (
        lambda c: c.list_events(agent="a-1", limit=1, before=9),
        api.ListEventsRequest(pipeline="", agent="a-1", limit=1, before=9),
        api.ListEventsResponse(events=(EVENT,)),
        (EVENT,),
    ),
    (
        lambda c: c.query_metrics(api.QueryMetricsRequest(name="m", by=("agent",), within=api.Within.RATE)),
        api.QueryMetricsRequest(name="m", by=("agent",), within=api.Within.RATE),
        api.QueryMetricsResponse(lines=(LINE,)),
        (LINE,),
    ),
    (
        lambda c: c.latest_metrics(api.LatestMetricsRequest(pipeline="edge")),
        api.LatestMetricsRequest(pipeline="edge"),
        api.LatestMetricsResponse(figures=(FIGURES,)),
        (FIGURES,),
    ),
    (
        lambda c: c.get_status(),
        api.GetStatusRequest(),
        api.GetStatusResponse(instance_id="i", agents={"connected": 3}),
        api.GetStatusResponse(instance_id="i", agents={"connected": 3}),
    ),
]
STREAMS: list[tuple[Callable[[ManagementClient], AsyncIterator[Any]], object, list[object], list[object]]] = [
    (
        lambda c: c.watch_pipeline("edge"),
        api.WatchPipelineRequest(name="edge"),
        [api.WatchPipelineResponse(pipeline=PIPELINE)] * 2,
        [PIPELINE] * 2,
    ),
    (
        lambda c: c.watch_events(after=3, pipeline="edge"),
        api.WatchEventsRequest(after=3, pipeline="edge"),
        [api.WatchEventsResponse(event=EVENT)],
        [EVENT],
    ),
    (
        lambda c: c.watch_metrics(api.WatchMetricsRequest(interval_seconds=1)),
        api.WatchMetricsRequest(interval_seconds=1),
        [api.WatchMetricsResponse(figures=(FIGURES,))] * 2,
        [(FIGURES,)] * 2,
    ),
    (lambda c: c.backup(), api.BackupRequest(), [api.BackupResponse(data=b"x")] * 3, [b"x"] * 3),
]


def test_every_rpc_has_a_case_here_a_method_of_the_handler_and_one_of_the_client() -> None:
    cases = {type(request) for _, request, *_ in (*CALLS, *STREAMS)}
    assert cases == {rpc.request for rpc in MANAGEMENT.values()}
    for rpc in MANAGEMENT.values():
        assert hasattr(ManagementHandler, rpc.method), rpc.name
        assert hasattr(ManagementClient, rpc.method), rpc.name


async def test_what_a_caller_may_not_do_is_not_done(client: ManagementClient, handler: Handler) -> None:
    handler.forbidden = True
    with pytest.raises(ForbiddenError, match="operator may not list_pipelines"):
        await client.list_pipelines()
    with pytest.raises(ForbiddenError, match="operator may not watch_events"):
        await anext(client.watch_events())
    assert handler.came == []


@pytest.mark.parametrize("rpc", MANAGEMENT.values(), ids=lambda rpc: rpc.name)
def test_a_method_of_the_handler_is_typed_as_its_rpc(rpc: Rpc) -> None:
    hints = typing.get_type_hints(getattr(ManagementHandler, rpc.method))
    assert hints["request"] is rpc.request
    returned = hints["return"]
    assert (typing.get_args(returned)[0] if rpc.server_streaming else returned) is rpc.response


@pytest.mark.parametrize(("call", "request_", "answer", "result"), CALLS, ids=[type(c[1]).__name__ for c in CALLS])
async def test_a_call_carries_its_request_and_its_answer(
    handler: Handler,
    client: ManagementClient,
    call: Callable[[ManagementClient], Any],
    request_: object,
    answer: object,
    result: object,
) -> None:
    handler.answers[type(request_)] = [answer]
    assert await call(client) == result
    ((came, caller),) = handler.came
    assert came == request_
    assert caller.name == "operator"
    assert caller.peer.startswith("ipv4:127.0.0.1:")


@pytest.mark.parametrize(("call", "request_", "answers", "items"), STREAMS, ids=[type(c[1]).__name__ for c in STREAMS])
async def test_a_stream_goes_on_until_its_caller_leaves(
    handler: Handler,
    client: ManagementClient,
    call: Callable[[ManagementClient], AsyncIterator[Any]],
    request_: object,
    answers: list[object],
    items: list[object],
) -> None:
    handler.answers[type(request_)] = answers
    stream = call(client)
    assert [await anext(stream) for _ in items] == items
    assert not handler.left.is_set()
    await typing.cast("Any", stream).aclose()
    async with asyncio.timeout(10):
        await handler.left.wait()


async def test_an_error_arrives_with_its_faults_and_the_number_to_confirm(
    handler: Handler, client: ManagementClient
) -> None:
    fault = Fault(message="filter 'grpe' is not known", plugin="grpe", file="edge.yaml", line=3, column=5)
    handler.error = InvalidError("pipeline 'edge': 1 fault", faults=[fault])
    with pytest.raises(InvalidError) as invalid:
        await client.apply_pipelines([MANIFEST])
    assert invalid.value.faults == (fault,)
    handler.error = ConfirmError("12 agents would lose 'edge'; give --confirm 12", confirm=12)
    with pytest.raises(ConfirmError) as confirm:
        await client.delete_pipelines(["edge"])
    assert confirm.value.confirm == 12


async def test_a_thousand_faults_arrive_as_many_as_fit(handler: Handler, client: ManagementClient) -> None:
    handler.error = InvalidError("many", faults=[Fault(message="m" * 200, line=line) for line in range(1, 1001)])
    with pytest.raises(InvalidError) as caught:
        await client.apply_pipelines([MANIFEST])
    assert len(caught.value.faults) >= 200


async def test_an_error_in_the_middle_of_a_stream_arrives_after_what_came_before(
    handler: Handler, client: ManagementClient
) -> None:
    handler.answers[api.BackupRequest] = [api.BackupResponse(data=b"x")]
    handler.error = NotFoundError("gone")
    stream = client.backup()
    assert await anext(stream) == b"x"
    with pytest.raises(NotFoundError, match="gone"):
        await anext(stream)


async def test_a_stream_ends_when_its_caller_may_not_have_it_any_more(handler: Handler) -> None:
    go = asyncio.Event()

    async def watch_events(request: object, caller: Caller) -> AsyncIterator[object]:
        yield api.WatchEventsResponse(event=EVENT)
        await go.wait()
        yield api.WatchEventsResponse(event=EVENT)

    handler.watch_events = watch_events  # type: ignore[attr-defined]  # a case of its own, in place of `_stream`
    service = ManagementService(typing.cast("ManagementHandler", handler), trusted_s=0)
    async with Listener("127.0.0.1:0", [service]) as listener, ManagementClient(listener.address, "good") as client:
        stream = client.watch_events()
        assert await anext(stream) == EVENT
        handler.forbidden = True
        go.set()
        with pytest.raises(ForbiddenError, match="operator may not watch_events"):
            await anext(stream)


async def test_a_defect_shows_a_reference_and_nothing_of_itself(handler: Handler, client: ManagementClient) -> None:
    handler.error = RuntimeError("password=hunter2")
    with pytest.raises(HeadraceError, match="the control plane's log has it under") as caught:
        await client.get_status()
    assert caught.value.code == "internal"
    assert "hunter2" not in caught.value.message


@pytest.mark.parametrize("token", ["bad", "Bearer good"])
async def test_a_wrong_token_is_unauthenticated(handler: Handler, listener: Listener, token: str) -> None:
    async with ManagementClient(listener.address, token) as client:
        with pytest.raises(UnauthenticatedError, match="HEADRACE_TOKEN"):
            await client.get_status()
        with pytest.raises(UnauthenticatedError):
            await anext(client.backup())
    assert handler.came == []


def test_a_token_that_no_header_can_carry_is_unauthenticated_before_any_call() -> None:
    with pytest.raises(UnauthenticatedError, match="was it copied whole"):
        ManagementClient("127.0.0.1:1", "schlüssel")


async def test_no_token_at_all_is_unauthenticated(listener: Listener, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEADRACE_TOKEN", "")
    monkeypatch.setenv("XDG_STATE_HOME", "/nowhere")
    async with ManagementClient(listener.address) as client:
        with pytest.raises(UnauthenticatedError):
            await client.get_status()


async def test_a_request_that_is_garbage_is_a_protocol_error(listener: Listener) -> None:
    async with grpc.aio.insecure_channel(listener.address) as channel:
        call = channel.unary_unary(MANAGEMENT["GetAgent"].path)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call(b"\xff\xff\xff", metadata=bearer("good"))
        assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_a_plane_that_is_not_there_is_named_with_what_to_do() -> None:
    async with ManagementClient("127.0.0.1:1", "good") as client:
        with pytest.raises(UnavailableError, match=r"127\.0\.0\.1:1 .*; start one with `headrace up`"):
            await client.get_status()


async def test_a_server_of_another_kind_is_not_mistaken_for_a_plane() -> None:
    async with Listener("127.0.0.1:0", []) as listener, ManagementClient(listener.address, "good") as client:
        with pytest.raises(ProtocolError, match="is it a control plane, and as new"):
            await client.get_status()


async def test_a_stop_ends_a_watch_as_unavailable(
    handler: Handler, listener: Listener, client: ManagementClient
) -> None:
    handler.answers[api.WatchEventsRequest] = [api.WatchEventsResponse(event=EVENT)]
    stream = client.watch_events()
    assert await anext(stream) == EVENT
    await listener.stop(grace_s=0.05)
    with pytest.raises(UnavailableError):
        await anext(stream)


def test_a_client_off_loopback_without_tls_is_refused() -> None:
    with pytest.raises(InvalidError, match="is not on loopback"):
        ManagementClient("192.0.2.1:8401", "good")


async def test_a_long_line_is_no_dead_one(listener: Listener, handler: Handler) -> None:
    handler.answers[api.ListTokensRequest] = [api.ListTokensResponse(tokens=(TOKEN,))]
    async with SeverableProxy(listener.address) as proxy, ManagementClient(proxy.address, "good") as client:
        proxy.stall()
        call = asyncio.create_task(client.list_tokens())
        done, _ = await asyncio.wait({call}, timeout=0.5)  # no byte comes back for this long
        assert not done
        proxy.mend()
        assert await call == (TOKEN,)
