"""Whatever bytes come on a Connect stream, in any order: a refusal in words, and the host is called as promised."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import get_args

from hypothesis import given, settings
from hypothesis import strategies as st

from headrace import codec
from headrace.errors import HeadraceError, UnauthenticatedError
from headrace.messages import AgentMessage, Close, Heartbeat, Hello, ServerMessage, Welcome, Workloads
from headrace.server import ChannelService, Link
from headrace.server.conversation import Conversation
from headrace.session import PROTOCOL_MAX, CloseError
from headrace.types import CloseReason, Facts
from tests.headrace.test_codec import FROM_AGENT
from tests.headrace.test_server_channel import Host

PROPER = [
    codec.encode_agent(message)
    for message in (
        Hello(agent_id="a-1", boot_id="b", session_number=1, protocol_min=1, protocol_max=PROTOCOL_MAX),
        Facts(name="n", version="0"),
        Workloads(complete=True),
        Heartbeat(reply=True),
    )
]


def damaged(data: bytes, at: int, bit: int) -> bytes:
    """The same with one bit turned."""
    at %= len(data)
    return data[:at] + bytes([data[at] ^ 1 << bit]) + data[at + 1 :]


VALID = FROM_AGENT.map(codec.encode_agent).filter(len)
ITEMS = st.one_of(
    st.sampled_from(PROPER),
    VALID,
    st.builds(damaged, st.sampled_from(PROPER) | VALID, st.integers(0, 500), st.integers(0, 7)),
    st.binary(max_size=60),
)
STREAMS = st.builds(lambda head, tail: [*PROPER[:head], *tail], st.integers(0, 4), st.lists(ITEMS, max_size=12))


class Wire:
    """A transport that keeps what it is given."""

    peer = "test"

    def __init__(self) -> None:
        self.sent: list[ServerMessage | None] = []
        self.ended = False

    async def send(self, data: bytes) -> None:
        self.sent.append(codec.decode_server(data))

    def end(self) -> None:
        self.ended = True


class Picky(Host):
    """A host that refuses some sessions, and some of what it receives, as hosts may."""

    def __init__(self, refusals: Sequence[bool]) -> None:
        super().__init__()
        self._refusals = iter(refusals)
        self.welcome = {"want_facts": True, "want_workloads": True}

    async def open(self, link: Link, hello: Hello) -> Welcome:
        if next(self._refusals, False):
            raise CloseError(CloseReason.OVERLOADED, "busy")
        return await super().open(link, hello)

    async def receive(self, link: Link, message: object) -> None:
        if next(self._refusals, False):
            raise UnauthenticatedError("not any more")
        await super().receive(link, message)  # type: ignore[arg-type]  # noted as it is


async def converse(stream: Sequence[bytes], refusals: Sequence[bool]) -> tuple[Picky, Wire, HeadraceError | None]:
    """As the listener does it: a HeadraceError is the stream's status, anything else would be a defect."""
    host, wire, status = Picky(refusals), Wire(), None
    service = ChannelService(host)
    conversation = Conversation(service, wire, credential="good")
    try:
        for data in stream:
            if wire.ended:
                break
            await conversation.on_message(data)
            await asyncio.sleep(0)
    except HeadraceError as error:
        status = error
    await asyncio.sleep(0)
    await conversation.closed("the stream ended")
    await service.pump.close()
    assert not service.links
    return host, wire, status


@settings(max_examples=300)
@given(stream=STREAMS, refusals=st.lists(st.booleans(), max_size=4))
def test_no_bytes_in_no_order_are_a_defect(stream: list[bytes], refusals: list[bool]) -> None:
    host, wire, status = asyncio.run(converse(stream, refusals))
    assert status is None or (status.code in ("protocol", "unauthenticated") and status.message)
    opened = host.calls.count("open")
    assert opened <= 1
    assert host.calls.count("closed") == opened
    assert host.calls.count("opened") <= opened
    if opened:
        assert host.calls[0] == "open"
        assert host.calls[-1] == "closed"
    else:
        assert not host.calls
    # A Close comes last and says why.
    closes = [message for message in wire.sent if isinstance(message, Close)]
    assert len(closes) <= 1
    for close in closes:
        assert wire.sent[-1] is close
        assert close.message
    assert all(type(message) in get_args(ServerMessage) for message in wire.sent)


@given(message=FROM_AGENT)
def test_no_message_but_hello_begins_a_session(message: AgentMessage) -> None:
    host, wire, _ = asyncio.run(converse([codec.encode_agent(message), *PROPER[1:]], []))
    if not isinstance(message, Hello):
        assert not host.calls
        (close,) = wire.sent
        assert isinstance(close, Close)
        assert close.reason is CloseReason.PROTOCOL
