"""What is said on one Connect stream: joins a transport, a session's rules and the host's handler.

The transport calls `on_message` with each message and `closed` once, never concurrently; this calls the handler in the
order that `ChannelHandler` promises. Nothing here knows grpc.
"""

from __future__ import annotations

import dataclasses
import secrets
from typing import TYPE_CHECKING

import structlog

from headrace import codec
from headrace.errors import ProtocolError, UnauthenticatedError
from headrace.messages import Challenge, Close, Goodbye, Heartbeat, Hello, Proof
from headrace.proofs import session_text
from headrace.server.link import Link, Transport
from headrace.session import CloseError, ServerSession, negotiate
from headrace.types import CloseReason

if TYPE_CHECKING:
    from headrace.server.channel import ChannelService

log = structlog.get_logger(__name__)

# By far the most frequent message is recognised without being decoded.
_PLAIN_HEARTBEAT = codec.encode_agent(Heartbeat())
_REPLY = codec.encode_server(Heartbeat())


class Conversation:
    """One per stream."""

    __slots__ = ("_certificate", "_challenge", "_credential", "_link", "_service", "_session", "_transport")

    def __init__(
        self, service: ChannelService, transport: Transport, *, credential: str, certificate: bytes = b""
    ) -> None:
        self._service = service
        self._transport = transport
        self._credential = credential
        self._certificate = certificate
        self._challenge: tuple[Hello, bytes] | None = None
        self._session = ServerSession(now=service.clock())
        self._link: Link | None = None

    @property
    def is_challenging(self) -> bool:
        """Whether the agent owes a proof."""
        return self._challenge is not None

    @property
    def is_open(self) -> bool:
        """Whether the agent has been let in."""
        return self._link is not None

    async def on_message(self, data: bytes) -> None:
        """Takes one message. A HeadraceError that it raises is the stream's end and its status."""
        now = self._service.clock()
        if data == _PLAIN_HEARTBEAT and self._session.is_open:
            self._session.last_heard = now
            return
        try:
            await self._take(data, now)
        except CloseError as refusal:
            await self._refuse(refusal)
        except ProtocolError as error:
            await self._refuse(CloseError(CloseReason.PROTOCOL, error.message))

    async def closed(self, why: str) -> None:
        """The stream is over, for this reason unless the link knows better; raises nothing."""
        link = self._link
        if link is None:
            return
        self._link = None
        why = link.finish(why)
        self._service.remove(link)
        try:
            await self._service.handler.closed(link, why)
        except Exception:
            log.exception("the host failed to close a link", agent=link.agent_id, session=link.session_id)

    async def _take(self, data: bytes, now: float) -> None:
        message = self._session.received(codec.decode_agent(data), now=now)
        if isinstance(message, Hello):
            await self._greet(message)
            return
        if isinstance(message, Proof):
            await self._prove(message)
            return
        link = self._link
        if message is None or link is None:
            return
        if isinstance(message, Heartbeat):
            link.post("heartbeat", _REPLY)
            return
        await self._service.handler.receive(link, message)
        if isinstance(message, Goodbye):
            link.cut(f"goodbye: {message.message}" if message.message else "goodbye")
        elif self._session.synced():
            await self._service.handler.opened(link)

    async def _greet(self, hello: Hello) -> None:
        service = self._service
        async with service.gate():
            certificate, self._certificate = self._certificate, b""
            agent_id = await service.handler.authenticate(self._credential, self._transport.peer, certificate)
            if agent_id != hello.agent_id:
                what = "certificate" if certificate else "credential"
                raise UnauthenticatedError(f"the {what} is that of agent {agent_id!r}, not of {hello.agent_id!r}")
            if certificate or service.possession is None:
                await self._open(hello, shown="certificate" if certificate else "credential")
            elif nonce := await service.possession.challenge(agent_id):
                challenge = Challenge(nonce=nonce)
                self._challenge = (hello, nonce)
                self._session.sent(challenge)
                await self._transport.send(codec.encode_server(challenge))
            else:
                await self._open(hello, shown="credential")
        await self._begin()

    async def _prove(self, proof: Proof) -> None:
        service, challenge = self._service, self._challenge
        if challenge is None or service.possession is None:
            raise ProtocolError("no proof was asked for")
        hello, nonce = challenge
        self._challenge = None
        async with service.gate():
            await service.possession.prove(hello.agent_id, session_text(nonce, hello), proof.signature)
            await self._open(hello, shown="key")
        await self._begin()

    async def _open(self, hello: Hello, *, shown: str) -> None:
        """Lets the agent in; within a turn of the gate."""
        service = self._service
        protocol = negotiate(hello)
        link = Link(
            hello,
            session_id=secrets.token_hex(8),
            session=self._session,
            transport=self._transport,
            pump=service.pump,
            shown=shown,
        )
        welcome = await service.handler.open(link, hello)
        self._link = link
        service.add(link)
        welcome = dataclasses.replace(welcome, protocol=protocol, max_message_bytes=service.limits.message)
        if link.is_open:  # else the host has closed it meanwhile, and Close is all that is left to say
            self._session.sent(welcome)
            await link.welcome(codec.encode_server(welcome))
        link.start()

    async def _begin(self) -> None:
        """Once an agent has been let in that owes no lists."""
        if self._link is not None and self._session.synced():
            await self._service.handler.opened(self._link)

    async def _refuse(self, refusal: CloseError) -> None:
        if self._link is not None:
            self._link.close(refusal.reason, refusal.message, refusal.retry_after_ms)
            return
        close = Close(reason=refusal.reason, message=refusal.message, retry_after_ms=refusal.retry_after_ms)
        self._session.sent(close)
        await self._transport.send(codec.encode_server(close))
        self._transport.end()
