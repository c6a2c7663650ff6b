"""The channel's server against raw and hostile clients, over real sockets: what it refuses, cuts and promises."""

from __future__ import annotations

import asyncio
import contextlib
import gc
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime

import grpc
import grpc.aio
import pytest

from headrace import codec
from headrace.content import sha256_of
from headrace.errors import NotFoundError, UnauthenticatedError, UnavailableError
from headrace.limits import Limits
from headrace.messages import (
    AgentMessage,
    Answer,
    Close,
    Complete,
    Desired,
    EnrollRequest,
    EnrollResponse,
    GetBlobRequest,
    GetBlobResponse,
    Goodbye,
    Heartbeat,
    Hello,
    Proof,
    PutBlobRequest,
    ReportRequest,
    ReportResponse,
    Samples,
    Series,
    ServerMessage,
    Welcome,
    Workloads,
)
from headrace.rpcs.channel import CHANNEL
from headrace.security import bearer
from headrace.server import ChannelService, Link, Listener, channel
from headrace.session import CloseError, Liveness
from headrace.types import CloseReason, Facts, Observed

HELLO = Hello(agent_id="a-1", boot_id="b", session_number=1)


class Host:
    """A handler that writes down what is called, in order, and fails where it is told to."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.links: list[Link] = []
        self.received: list[object] = []
        self.reports: list[ReportRequest] = []
        self.why: list[str] = []
        self.welcome: dict[str, object] = {}
        self.fail: dict[str, BaseException] = {}
        self.early = b""
        self.last_enrolled: EnrollRequest | None = None
        self.gate = asyncio.Event()
        self.gate.set()
        self.changed = asyncio.Event()

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(10):
            while not condition():
                self.changed.clear()
                await self.changed.wait()

    def note(self, call: str) -> None:
        self.calls.append(call)
        self.changed.set()
        if call in self.fail:
            raise self.fail[call]

    async def enroll(self, request: EnrollRequest, peer: str) -> EnrollResponse:
        self.last_enrolled = request
        self.note("enroll")
        return EnrollResponse(agent_id="a-1", credential="good")

    async def renew(self, agent_id: str, request: EnrollRequest) -> EnrollResponse:
        self.note(f"renew {agent_id}")
        return EnrollResponse(agent_id=agent_id)

    async def authenticate(self, credential: str, peer: str, certificate: bytes = b"") -> str:
        if credential != "good":
            raise UnauthenticatedError("the credential is not known; enrol again")
        return "a-1"

    async def open(self, link: Link, hello: Hello) -> Welcome:
        self.note("open")
        await self.gate.wait()
        if self.early:
            link.post("complete", self.early)
        self.links.append(link)
        return Welcome(session_id=link.session_id, instance_id="i", epoch=1, **self.welcome)  # type: ignore[arg-type] # a test's choice of fields

    async def opened(self, link: Link) -> None:
        self.note("opened")

    async def receive(self, link: Link, message: Facts | Workloads | Answer | Goodbye | Proof) -> None:
        self.received.append(message)
        self.note(f"receive {type(message).__name__}")

    async def closed(self, link: Link, why: str) -> None:
        self.why.append(why)
        self.note("closed")

    async def get_blob(self, agent_id: str, sha256: str) -> bytes:
        raise NotFoundError(f"blob {sha256[:12]} is not there")

    async def expect_blob(self, agent_id: str, sha256: str) -> None:
        self.note("expect")

    async def put_blob(self, agent_id: str, sha256: str, data: bytes) -> None:
        self.note(f"put {len(data)}")

    async def report(self, agent_id: str, request: ReportRequest) -> ReportResponse:
        self.reports.append(request)
        return ReportResponse(stored=request.sequence)


class Client:
    """A raw Connect stream."""

    def __init__(self, address: str, credential: str = "good") -> None:
        self.grpc = grpc.aio.insecure_channel(address, options=[("grpc.use_local_subchannel_pool", 1)])
        self.stream = self.grpc.stream_stream(CHANNEL["Connect"].path)(metadata=bearer(credential))

    async def say(self, *messages: AgentMessage) -> None:
        for message in messages:
            await self.stream.write(codec.encode_agent(message))

    async def hear(self) -> ServerMessage | None:
        async with asyncio.timeout(10):
            data = await self.stream.read()
        return None if data is grpc.aio.EOF else codec.decode_server(data)

    async def status(self) -> tuple[grpc.StatusCode, str]:
        async with asyncio.timeout(10):
            return await self.stream.code(), await self.stream.details()


@pytest.fixture
def host() -> Host:
    return Host()


@pytest.fixture
def limits() -> Limits:
    return Limits()


@pytest.fixture
async def listener(host: Host, limits: Limits) -> AsyncIterator[Listener]:
    async with Listener("127.0.0.1:0", [ChannelService(host, limits=limits)], limits=limits) as listener:
        yield listener


@pytest.fixture
async def connect(listener: Listener) -> AsyncIterator[Callable[..., Client]]:
    clients: list[Client] = []

    def connect(credential: str = "good") -> Client:
        clients.append(Client(listener.address, credential))
        return clients[-1]

    yield connect
    for client in clients:
        await client.grpc.close()


@pytest.fixture
def client(connect: Callable[..., Client]) -> Client:
    return connect()


async def welcomed(client: Client, hello: Hello = HELLO) -> Welcome:
    await client.say(hello)
    welcome = await client.hear()
    assert isinstance(welcome, Welcome)
    return welcome


# Order.


async def test_the_host_is_called_in_the_promised_order(host: Host, client: Client) -> None:
    host.welcome = {"want_facts": True, "want_workloads": True}
    await welcomed(client)
    await client.say(Facts(name="a"), Workloads(observed=(Observed(pipeline="p"),)), Workloads(complete=True))
    await host.until(lambda: "opened" in host.calls)
    await client.say(Goodbye(message="done"))
    await host.until(lambda: "closed" in host.calls)
    assert host.calls == [
        *("open", "receive Facts", "receive Workloads", "receive Workloads", "opened", "receive Goodbye", "closed"),
    ]
    assert host.why == ["goodbye: done"]


async def test_what_was_posted_before_welcome_follows_it(host: Host, client: Client) -> None:
    host.early = codec.encode_server(Complete(fleet_revision=3))
    await welcomed(client)
    assert await client.hear() == Complete(fleet_revision=3)


async def test_the_latest_of_a_key_is_sent_and_complete_comes_last(host: Host, client: Client) -> None:
    await welcomed(client)
    (link,) = host.links
    link.post("complete", codec.encode_server(Complete(fleet_revision=9)))
    for generation in range(1, 50):
        link.post("desired/p", codec.encode_server(Desired(pipeline="p", generation=generation, sha256="")))
    assert await client.hear() == Desired(pipeline="p", generation=49, sha256="")
    assert await client.hear() == Complete(fleet_revision=9)


async def test_a_heartbeat_that_asks_is_answered_and_bothers_no_host(host: Host, client: Client) -> None:
    await welcomed(client)
    await client.say(Heartbeat(), Heartbeat(reply=True))
    assert await client.hear() == Heartbeat()
    assert host.received == []
    assert host.links[0].liveness() is Liveness.ALIVE


async def test_a_kind_of_message_from_the_future_is_ignored(host: Host, client: Client) -> None:
    await welcomed(client)
    await client.stream.write(b"\xfa\x06\x00")  # field 111, which no version has
    await client.say(Heartbeat(reply=True))
    assert await client.hear() == Heartbeat()


# What is refused.


@pytest.mark.parametrize(
    ("first", "text"),
    [
        (codec.encode_agent(Workloads()), "Workloads is not allowed while awaiting_hello; allowed: Close, Hello"),
        (codec.encode_agent(Heartbeat()), "Heartbeat is not allowed while awaiting_hello"),
        (b"\xff\xff\xff", "are not such a message"),
        (codec.encode_agent(HELLO)[:-3], "are not such a message"),
        (
            codec.encode_agent(Hello(agent_id="a-1", boot_id="b", session_number=1, protocol_min=7, protocol_max=9)),
            "speaks protocol 7 to 9, this control plane 1 to 1; upgrade the control plane",
        ),
    ],
    ids=["no Hello", "heartbeat first", "garbage", "truncated", "a newer protocol"],
)
async def test_a_stream_that_begins_wrongly_is_closed_and_told_why(
    host: Host, client: Client, first: bytes, text: str
) -> None:
    await client.stream.write(first)
    close = await client.hear()
    assert isinstance(close, Close)
    assert close.reason is CloseReason.PROTOCOL
    assert text in close.message
    assert await client.hear() is None
    assert "closed" not in host.calls


async def test_garbage_in_an_open_session_ends_it_and_nothing_else(host: Host, connect: Callable[..., Client]) -> None:
    good, bad = connect(), connect()
    await welcomed(good)
    await welcomed(bad)
    await bad.stream.write(b"\xff\xff\xff")
    close = await bad.hear()
    assert isinstance(close, Close)
    assert close.reason is CloseReason.PROTOCOL
    await host.until(lambda: host.why == ["closed: protocol"])
    await good.say(Heartbeat(reply=True))
    assert await good.hear() == Heartbeat()


async def test_a_wrong_credential_is_unauthenticated(host: Host, connect: Callable[..., Client]) -> None:
    client = connect("bad")
    await client.say(HELLO)
    assert await client.status() == (grpc.StatusCode.UNAUTHENTICATED, "the credential is not known; enrol again")
    assert host.calls == []


async def test_a_credential_serves_no_other_agent(host: Host, client: Client) -> None:
    await client.say(Hello(agent_id="a-2", boot_id="b", session_number=1))
    code, text = await client.status()
    assert code is grpc.StatusCode.UNAUTHENTICATED
    assert text == "the credential is that of agent 'a-1', not of 'a-2'"
    assert host.calls == []


async def test_a_message_past_the_limit_ends_its_stream_alone(host: Host, connect: Callable[..., Client]) -> None:
    good, bad = connect(), connect()
    await welcomed(good)
    await welcomed(bad)
    await bad.say(Facts(name="x" * (5 << 20)))
    code, _ = await bad.status()
    assert code is grpc.StatusCode.RESOURCE_EXHAUSTED
    await host.until(lambda: len(host.why) == 1)
    await good.say(Heartbeat(reply=True))
    assert await good.hear() == Heartbeat()


async def test_a_host_may_refuse(host: Host, client: Client) -> None:
    host.fail["open"] = CloseError(CloseReason.DUPLICATE_IDENTITY, "another one is agent a-1", 9)
    await client.say(HELLO)
    reason = CloseReason.DUPLICATE_IDENTITY
    assert await client.hear() == Close(reason=reason, message="another one is agent a-1", retry_after_ms=9)
    assert await client.hear() is None
    assert host.calls == ["open"]


async def test_an_error_of_the_host_is_the_streams_status(host: Host, client: Client) -> None:
    host.fail["opened"] = UnavailableError("the store cannot be reached")
    await welcomed(client)
    assert await client.status() == (grpc.StatusCode.UNAVAILABLE, "the store cannot be reached")
    await host.until(lambda: "closed" in host.calls)


async def test_a_defect_of_the_host_shows_a_reference_and_nothing_else(host: Host, client: Client) -> None:
    host.fail["receive Facts"] = RuntimeError("password=hunter2")
    await welcomed(client)
    await client.say(Facts(name="a"))
    code, text = await client.status()
    assert code is grpc.StatusCode.INTERNAL
    assert "hunter2" not in text
    assert "the control plane's log has it under" in text


async def test_a_stream_that_says_nothing_is_ended(monkeypatch: pytest.MonkeyPatch, client: Client) -> None:
    monkeypatch.setattr(channel, "_HELLO_S", 0.05)
    assert await client.hear() is None


@pytest.mark.parametrize("limits", [Limits(handshakes=1)])
async def test_who_finds_no_turn_to_shake_hands_is_sent_away_for_a_while(
    monkeypatch: pytest.MonkeyPatch, host: Host, connect: Callable[..., Client]
) -> None:
    monkeypatch.setattr(channel, "_TURN_S", 0.05)
    host.gate.clear()
    first, second = connect(), connect()
    await first.say(HELLO)
    await host.until(lambda: host.calls == ["open"])
    await second.say(HELLO)
    close = await second.hear()
    assert isinstance(close, Close)
    assert close.reason is CloseReason.OVERLOADED
    assert 1_000 <= close.retry_after_ms <= 5_000
    host.gate.set()
    assert isinstance(await first.hear(), Welcome)


# What is cut.


@pytest.mark.parametrize("limits", [Limits(slow_reader_s=0.1)])
async def test_a_reader_that_takes_nothing_is_cut_and_holds_up_nobody(
    monkeypatch: pytest.MonkeyPatch, host: Host, connect: Callable[..., Client]
) -> None:
    monkeypatch.setattr(channel, "_INSPECT_S", 0.02)
    slow = connect()
    await welcomed(slow)
    for number in range(40):  # more than the windows and buffers of a connection hold
        data = codec.encode_server(Desired(pipeline="p", generation=1, sha256="", payload=bytes(1 << 20)))
        host.links[0].post(f"desired/{number}", data)
    quick = connect()
    await welcomed(quick)
    host.links[1].post("complete", codec.encode_server(Complete(fleet_revision=1)))
    assert await quick.hear() == Complete(fleet_revision=1)
    await host.until(lambda: "closed" in host.calls)
    assert host.why == ["too slow: took nothing for 0.1 s"]


async def test_an_agent_that_falls_silent_is_suspect_then_lost(
    monkeypatch: pytest.MonkeyPatch, host: Host, client: Client
) -> None:
    monkeypatch.setattr(channel, "_INSPECT_S", 0.02)
    host.welcome = {"heartbeat_ms": 40}
    await welcomed(client)
    await host.until(lambda: "closed" in host.calls)
    assert host.why[0].startswith("lost: nothing heard for")
    assert host.links[0].liveness() is Liveness.LOST


async def test_closed_is_called_once_however_a_session_ends(host: Host, connect: Callable[..., Client]) -> None:
    endings: list[Callable[[Client, Link], object]] = [
        lambda client, link: client.stream.cancel(),
        lambda client, link: link.close(CloseReason.SUPERSEDED),
        lambda client, link: (link.close(CloseReason.SUPERSEDED), link.close(CloseReason.REVOKED), link.cut("x")),
        lambda client, link: link.cut("cut by the test"),
    ]
    for number, end in enumerate(endings, 1):
        client = connect()
        await welcomed(client)
        end(client, host.links[-1])
        await host.until(lambda number=number: host.calls.count("closed") == number)
        host.links[-1].post("complete", b"")
        host.links[-1].drain(10)
        host.links[-1].close(CloseReason.DRAINED)
    half_closed = connect()
    await welcomed(half_closed)
    await half_closed.stream.done_writing()
    await host.until(lambda: host.calls.count("closed") == len(endings) + 1)
    assert host.calls.count("open") == host.calls.count("closed")
    assert host.why[1:] == [
        "closed: superseded",
        "closed: superseded",
        "cut by the test",
        "the stream ended without a goodbye",
    ]


async def test_a_stop_tells_every_agent_and_is_quick(host: Host, client: Client, listener: Listener) -> None:
    await welcomed(client)
    async with asyncio.timeout(5):
        await listener.stop(grace_s=60)
    close = await client.hear()
    assert isinstance(close, Close)
    assert close.reason is CloseReason.DRAINED
    assert close.retry_after_ms > 0
    assert host.why == ["closed: drained"]
    await listener.stop()


async def test_a_stop_does_not_wait_for_a_stream_that_was_cancelled_while_its_host_was_told(host: Host) -> None:
    service = ChannelService(host)
    async with Listener("127.0.0.1:0", [service]) as listener:
        client = Client(listener.address)
        await welcomed(client)
        host.fail["closed"] = asyncio.CancelledError()
        client.stream.cancel()
        await host.until(lambda: "closed" in host.calls)
        async with asyncio.timeout(10):
            await service.stop(patience_s=60)
        await client.grpc.close()


async def test_a_stop_that_is_cancelled_cuts_what_is_left(host: Host) -> None:
    service = ChannelService(host)
    async with Listener("127.0.0.1:0", [service]) as listener:
        client = Client(listener.address)
        await welcomed(client)
        stopping = asyncio.create_task(service.stop(patience_s=60))
        await asyncio.sleep(0)
        stopping.cancel()
        await asyncio.gather(stopping, return_exceptions=True)
        await host.until(lambda: "closed" in host.calls)
        assert stopping.cancelled()
        assert not service.links
        await client.grpc.close()


# The other calls.


async def test_a_blob_is_checked_against_its_size_and_hash(host: Host, client: Client) -> None:
    async def put(*pieces: PutBlobRequest) -> grpc.StatusCode:
        call = client.grpc.stream_unary(CHANNEL["PutBlob"].path)(metadata=bearer("good"))
        try:
            for piece in pieces:
                await call.write(codec.encode(piece))
            await call.done_writing()
            await call
        except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
            pass
        return await call.code()

    good = sha256_of(b"blob")
    assert await put(PutBlobRequest(sha256=good, size=4, data=b"bl"), PutBlobRequest(data=b"ob")) is grpc.StatusCode.OK
    assert await put(PutBlobRequest(sha256=good, size=4, data=b"blub")) is grpc.StatusCode.INVALID_ARGUMENT
    assert await put(PutBlobRequest(sha256=good, size=4, data=b"blo")) is grpc.StatusCode.INVALID_ARGUMENT
    assert await put(PutBlobRequest(sha256=good, size=1 << 40, data=b"b")) is grpc.StatusCode.OUT_OF_RANGE
    assert await put() is grpc.StatusCode.INVALID_ARGUMENT
    assert host.calls == ["expect", "put 4", "expect", "expect"]
    host.calls.clear()
    host.fail["expect"] = NotFoundError("nobody asked for it")
    assert await put(PutBlobRequest(sha256=good, size=4, data=b"blob")) is grpc.StatusCode.NOT_FOUND
    assert host.calls == ["expect"]


async def test_every_call_but_enrolment_needs_a_credential(host: Host, client: Client) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await client.grpc.unary_stream(CHANNEL["GetBlob"].path)(codec.encode(GetBlobRequest(sha256="0"))).read()
    assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED
    report = client.grpc.stream_stream(CHANNEL["Report"].path)()
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await report.read()
    assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED
    call = client.grpc.stream_unary(CHANNEL["PutBlob"].path)()
    assert await call.code() is grpc.StatusCode.UNAUTHENTICATED
    data = await client.grpc.unary_unary(CHANNEL["Enroll"].path)(
        codec.encode(EnrollRequest(token="t", facts=Facts(name="a")))
    )
    assert codec.decode(EnrollResponse, data).agent_id == "a-1"


async def test_what_is_refused_is_let_go_at_once_and_not_when_the_collector_comes(host: Host, client: Client) -> None:
    host.fail["enroll"] = UnauthenticatedError("no")
    token = "refused" * 1000
    request = codec.encode(EnrollRequest(token=token, facts=Facts(name="a")))
    gc.collect()
    gc.disable()
    try:
        for _ in range(3):
            with pytest.raises(grpc.aio.AioRpcError, match="UNAUTHENTICATED"):
                await client.grpc.unary_unary(CHANNEL["Enroll"].path)(request)
        await asyncio.sleep(0)
        held = [thing for thing in gc.get_objects() if isinstance(thing, EnrollRequest) and thing.token == token]
        assert [thing is host.last_enrolled for thing in held] == [True]
    finally:
        gc.enable()


async def test_series_are_defined_once_per_stream_and_resolved_for_the_host(host: Host, client: Client) -> None:
    at = datetime(2026, 1, 1, tzinfo=UTC)
    series = Series(id=1, name="fluentbit_input_records_total", tags={"plugin": "tail.0"})
    other = Series(id=2, name="fluentbit_output_errors_total")
    call = client.grpc.stream_stream(CHANNEL["Report"].path)(metadata=bearer("good"))
    first = ReportRequest(sequence=1, series=(series, other), samples=(Samples(at=at, series=(1,), values=(1.0,)),))
    second = ReportRequest(sequence=2, samples=(Samples(at=at, series=(2, 1), values=(1.0, 2.0)),))
    for request in (first, second):
        await call.write(codec.encode(request))
        assert codec.decode(ReportResponse, await call.read()).stored == request.sequence
    assert [request.series for request in host.reports] == [(series,), (other, series)]
    await call.write(codec.encode(ReportRequest(sequence=3, samples=(Samples(at=at, series=(3,), values=(1.0,)),))))
    with pytest.raises(grpc.aio.AioRpcError, match="series 3 was not defined on this stream"):
        await call.read()


async def test_a_missing_blob_is_not_found(client: Client) -> None:
    call = client.grpc.unary_stream(CHANNEL["GetBlob"].path)(
        codec.encode(GetBlobRequest(sha256="0" * 64)), metadata=bearer("good")
    )
    with contextlib.suppress(grpc.aio.AioRpcError):
        assert codec.decode(GetBlobResponse, await call.read()) is None
    assert await call.code() is grpc.StatusCode.NOT_FOUND
