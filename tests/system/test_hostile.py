"""Hostile input to every door of a running plane: a clear refusal, a bounded cost, and nothing lost meanwhile."""

from __future__ import annotations

import itertools
import json
import random
import socket
import struct
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import grpc
import pytest

from headrace import codec
from headrace.content import sha256_of
from headrace.local import find
from headrace.messages import (
    Answer,
    Close,
    EnrollRequest,
    EnrollResponse,
    GetBlobRequest,
    Goodbye,
    Hello,
    PutBlobRequest,
    ServerMessage,
    Welcome,
    Workloads,
)
from headrace.rpcs.channel import CHANNEL
from headrace.rpcs.management import MANAGEMENT
from headrace.rpcs.rpc import Rpc
from headrace.types import Attempt, AttemptState, CloseReason, Facts, Fault, Observed, Phase
from tests.processes import wait_until
from tests.system.plane import Agent, Plane

pytestmark = [pytest.mark.system, pytest.mark.timeout(180)]

CONFIG = "pipeline: {inputs: [{name: dummy, tag: t}], outputs: [{name: 'null', match: '*'}]}"
FACTS = Facts(name="evil", version="0")
MIB = 1 << 20
GROWTH = 64 * MIB
"""What a door may cost in memory, whatever comes through it; a message has 4 MiB."""
UNLIMITED = [("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1)]
REFUSED = {grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.RESOURCE_EXHAUSTED}
"""How a call on garbage ends, or on more of it than is taken."""


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Plane, Agent]]:
    """A plane with an agent that runs a pipeline."""
    with Plane(tmp_path_factory.mktemp("hostile") / "plane") as plane:
        agent = plane.agent("a-1", "--settle", "0.1")
        plane.apply("edge", CONFIG, "--wait=good")
        yield plane, agent


@pytest.fixture
def plane(served: tuple[Plane, Agent]) -> Iterator[Plane]:
    """After each test, all of that is as it was, for little memory."""
    plane, agent = served
    engines, sessions, before = agent.engines(), sessions_of(agent), plane.program.memory
    yield plane
    grown = plane.program.memory - before
    assert grown < GROWTH, f"the plane has grown by {grown / MIB:.0f} MiB"
    assert plane.cli("status")
    assert plane.workload("edge", "a-1").phase is Phase.GOOD
    assert (agent.engines(), sessions_of(agent)) == (engines, sessions)
    assert len(plane.ask(lambda client: client.list_pipelines())) == 1
    assert "Traceback" not in plane.program.output


def sessions_of(agent: Agent) -> int:
    """How often the agent has connected: once, unless something disturbed it."""
    return agent.program.output.count("connected")


def channel_to(address: str, stack: ExitStack) -> grpc.Channel:
    return stack.enter_context(grpc.insecure_channel(address, options=UNLIMITED))


def garbage() -> Iterator[bytes]:
    """Noise, a message that is cut short, a number without end, layers without end, and more than a message may be."""
    rng = random.Random(1)
    yield b"\xff"
    yield rng.randbytes(1000)
    yield rng.randbytes(100_000)
    yield codec.encode(EnrollRequest(token="hrb_t.secret", facts=Facts(name="n" * 100)))[:-10]
    yield b"\x08" + b"\xff" * 20
    yield b"\xfb\x3f" * 5000  # groups, which recurse in a careless parser
    yield bytes(5 * MIB)


Metadata = tuple[tuple[str, str], ...]


def call(channel: Any, rpc: Rpc, *requests: bytes, metadata: Metadata = (), gzip: bool = False) -> list[bytes]:
    """All answers to raw requests, however the call streams. Raises grpc.RpcError."""
    options: Any = {"metadata": metadata, "timeout": 60}
    if gzip:
        options["compression"] = grpc.Compression.Gzip
    match rpc.client_streaming, rpc.server_streaming:
        case True, True:
            return [*channel.stream_stream(rpc.path)(iter(requests), **options)]
        case False, True:
            return [*channel.unary_stream(rpc.path)(requests[0], **options)]
        case True, False:
            return [channel.stream_unary(rpc.path)(iter(requests), **options)]
    return [channel.unary_unary(rpc.path)(requests[0], **options)]


def status_of(channel: grpc.Channel, rpc: Rpc, *requests: bytes, **options: Any) -> grpc.StatusCode:
    """How a raw call ended."""
    try:
        call(channel, rpc, *requests, **options)
    except grpc.RpcError as error:
        return error.code()
    return grpc.StatusCode.OK


UNKNOWN = (grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.RESOURCE_EXHAUSTED)
"""What somebody is told who is nobody: no, and after ten times in a minute, to wait."""


def bearer(credential: str) -> Metadata:
    return (("authorization", f"Bearer {credential}"),)


@pytest.mark.parametrize("door", ["channel", "management"])
def test_garbage_in_every_call_is_refused_by_a_status(plane: Plane, door: str) -> None:
    with ExitStack() as stack:
        if door == "channel":
            channel, rpcs, right = channel_to(plane.channel, stack), CHANNEL, Raw(plane, stack).metadata
        else:
            token = find(address=plane.grpc, environment={"HOME": str(plane.home)}).token
            channel, rpcs, right = channel_to(plane.grpc, stack), MANAGEMENT, bearer(token)
        wrong = [(), *map(bearer, ("", "wrong", "hra_a.b", "hru_ann.b", "hru_.", "x" * 5000))]
        for rpc in rpcs.values():
            for data in garbage():
                code = status_of(channel, rpc, data, metadata=right)
                told_by_close = rpc.name == "Connect" and code is grpc.StatusCode.OK
                assert told_by_close or code in REFUSED, (rpc.name, data[:20], code)
            for metadata in wrong:
                if rpc.name not in ("Connect", "Enroll"):  # the one asks after Hello only, the other for a token
                    assert status_of(channel, rpc, b"", metadata=metadata) in UNKNOWN, rpc.name


def test_a_message_that_unfolds_beyond_the_limit_is_refused(plane: Plane) -> None:
    for address, rpc in ((plane.channel, CHANNEL["Enroll"]), (plane.grpc, MANAGEMENT["ApplyPipelines"])):
        with ExitStack() as stack:
            code = status_of(channel_to(address, stack), rpc, bytes(256 * MIB), gzip=True)
        assert code is grpc.StatusCode.RESOURCE_EXHAUSTED


def test_what_is_no_http_at_all_is_let_go(plane: Plane) -> None:
    http = json.loads((plane.folder / "data/ready.json").read_text())["http"]
    rng = random.Random(2)
    preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
    endless = preface + struct.pack(">I", 0xFFFFFF)[1:] + b"\x00\x00" + b"\x00" * 4
    for address in (plane.grpc, plane.channel, http):
        host, _, port = address.rpartition(":")
        for data in (b"", rng.randbytes(100_000), b"GET / HTTP/1.1\r\n" + b"x: y\r\n" * 50_000, preface, endless):
            with socket.create_connection((host, int(port)), timeout=20) as connection:
                try:
                    connection.sendall(data)
                    connection.shutdown(socket.SHUT_WR)
                    while connection.recv(1 << 16):
                        pass
                except OSError:
                    pass  # it was reset, which is one way to be let go
    with ExitStack() as stack:  # and many that say nothing at all
        for _ in range(200):
            for address in (plane.grpc, plane.channel, http):
                host, _, port = address.rpartition(":")
                stack.enter_context(socket.create_connection((host, int(port)), timeout=20))
        assert plane.cli("status")


def test_wrong_tokens_open_no_door_and_fill_no_disk(plane: Plane) -> None:
    with ExitStack() as stack:
        metadata = bearer("wrong")
        assert status_of(channel_to(plane.grpc, stack), MANAGEMENT["GetStatus"], b"", metadata=metadata) in UNKNOWN
    size, agents = state_size(plane), len(plane.ask(lambda client: client.list_agents()))
    wrong = ["", "x", "hrb_", "hrb_t-unknown.secret", "hra_a-1.secret", "hrb_\0.\0", f"hrb_{'x' * MIB}.y", "hrb_�.�"]
    with ExitStack() as stack:
        channel = channel_to(plane.channel, stack)
        for turn, token in enumerate(wrong * 20):
            for name, refusal in (("evil", "UNAUTHENTICATED"), ("evil\x1b[2J\0", "INVALID_ARGUMENT")):
                request = EnrollRequest(token=token, facts=Facts(name=name), claims={"credential": token})
                expected = refusal if turn < 5 else "RESOURCE_EXHAUSTED"  # ten failures of a source in a minute
                assert status_of(channel, CHANNEL["Enroll"], codec.encode(request)).name == expected, (turn, name)
    refused = [event for event in plane.events() if event.kind == "agent.refused"]
    assert refused
    assert len(refused) < len(wrong) * 20
    assert all(event.message.isprintable() and len(event.message) < 1000 for event in refused)
    assert state_size(plane) - size < MIB
    assert len(plane.ask(lambda client: client.list_agents())) == agents


def state_size(plane: Plane) -> int:
    return sum(path.stat().st_size for path in (plane.folder / "data").glob("state.db*"))


class Raw:
    """An enrolled agent that says what it likes."""

    def __init__(self, plane: Plane, stack: ExitStack) -> None:
        token = plane.ask(lambda client: client.create_token(ttl_seconds=600)).secret
        self._channel = channel_to(plane.channel, stack)
        request = EnrollRequest(token=token, facts=FACTS)
        (answer,) = call(self._channel, CHANNEL["Enroll"], codec.encode(request))
        identity = codec.decode(EnrollResponse, answer)
        self.id, self.metadata = identity.agent_id, bearer(identity.credential)
        self._boots = itertools.count()

    def say(self, *messages: bytes) -> list[ServerMessage | None]:
        """All that is answered in a session that begins as it should and goes on like this."""
        hello = Hello(
            agent_id=self.id,
            boot_id=f"b-{next(self._boots)}",
            session_number=1,
            protocol_min=1,
            protocol_max=1,
        )
        proper = [codec.encode_agent(message) for message in (hello, FACTS, Workloads(complete=True))]
        said = call(self._channel, CHANNEL["Connect"], *proper, *messages, metadata=self.metadata)
        return [codec.decode_server(data) for data in said]

    def status_of(self, name: str, *requests: bytes) -> grpc.StatusCode:
        """How a call ended."""
        return status_of(self._channel, CHANNEL[name], *requests, metadata=self.metadata)


def failed(pipeline: str, *faults: Fault, generation: int = 1, notes: tuple[str, ...] = ()) -> Observed:
    attempt = Attempt(generation=generation, state=AttemptState.FAILED, faults=faults)
    return Observed(pipeline=pipeline, desired=generation, attempt=attempt, notes=notes)


def test_an_enrolled_agent_can_say_what_it_likes_and_costs_little(plane: Plane) -> None:
    size = state_size(plane)
    wordy = Fault(message="m" * MIB, plugin="p\0" * 1000, property="\0", file="../" * 1000)
    refused: dict[str, Observed] = {
        "a name that leaves its folder": failed("../../etc"),
        "a name with NUL": failed("a\0b"),
        "a number that no counter reaches": failed("edge", generation=1 << 60),
    }
    with ExitStack() as stack:
        agent = Raw(plane, stack)
        for what, observed in refused.items():
            close = agent.say(codec.encode_agent(Workloads(observed=(observed,))))[-1]
            assert isinstance(close, Close), what
            assert close.reason is CloseReason.PROTOCOL, what
        many = Workloads(observed=tuple(failed(f"p-{number}") for number in range(5000)))
        close = agent.say(codec.encode_agent(many))[-1]
        assert isinstance(close, Close)
        assert "the limit is" in close.message
        for data in garbage():
            if len(data) < 4 * MIB:
                assert isinstance(agent.say(data)[-1], Close)
        # What is long is cut, what no store holds is cleaned, and what nobody asked for is dropped.
        said = agent.say(
            codec.encode_agent(Workloads(observed=(failed("edge", wordy, wordy, notes=("n\0" * 100_000,) * 3),))),
            codec.encode_agent(Answer(command_id="c-nobody-asked", ok=True, message="\0" * 100_000, output=bytes(MIB))),
            codec.encode_agent(Goodbye(message="\0" * 100_000)),
        )
        assert isinstance(said[0], Welcome)
        assert not any(isinstance(message, Close) for message in said)
        wait_until(lambda: plane.ask(lambda client: client.get_agent(agent.id)).workloads, what="the report is stored")
        refusals = ("NOT_FOUND", "INVALID_ARGUMENT", "OUT_OF_RANGE")
        for name, request in (
            ("GetBlob", GetBlobRequest(sha256="ab" * 32)),
            ("GetBlob", GetBlobRequest(sha256="\0", offset=1 << 40)),
            ("PutBlob", PutBlobRequest(sha256=sha256_of(b"x"), size=1, data=b"x")),
            ("PutBlob", PutBlobRequest(sha256="\0", size=1, data=b"x")),
            ("PutBlob", PutBlobRequest(sha256="ab" * 32, size=1 << 40, data=b"x")),
            ("PutBlob", PutBlobRequest(sha256="ab" * 32, size=1, data=bytes(3 * MIB))),
        ):
            assert agent.status_of(name, codec.encode(request)).name in refusals, (name, request)
        piece = codec.encode(PutBlobRequest(sha256="ab" * 32, size=30 * MIB, data=bytes(3 * MIB)))
        assert agent.status_of("PutBlob", *[piece] * 10) is grpc.StatusCode.NOT_FOUND
        plane.cli("agent", "revoke", agent.id)
        assert agent.status_of("GetBlob", b"") is grpc.StatusCode.PERMISSION_DENIED
    assert state_size(plane) - size < 4 * MIB
