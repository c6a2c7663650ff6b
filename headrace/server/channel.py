"""Serves the agents' channel (`headrace.v1.Channel`) over a `ChannelHandler` that the host implements.

Bytes go to and from grpc as they are. A Connect stream costs one coroutine, grpc's own, and a few small objects.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import AsyncIterator, Callable, Collection, Mapping
from typing import Any, Protocol

import grpc
import grpc.aio
import structlog

from headrace import codec, content
from headrace.errors import LimitError, ProtocolError
from headrace.limits import DEFAULT_LIMITS, Limits
from headrace.messages import (
    Answer,
    EnrollRequest,
    EnrollResponse,
    GetBlobRequest,
    GetBlobResponse,
    Goodbye,
    Hello,
    Proof,
    PutBlobRequest,
    PutBlobResponse,
    ReportRequest,
    ReportResponse,
    Welcome,
    Workloads,
)
from headrace.rpcs.channel import CHANNEL_SERVICE
from headrace.security import certificate_of, credential_of
from headrace.server.answers import Context, answered, read
from headrace.server.conversation import Conversation
from headrace.server.link import Link
from headrace.server.pump import Pump
from headrace.server.series import SeriesTable
from headrace.session import CloseError
from headrace.types import CloseReason, Facts

log = structlog.get_logger(__name__)

# How long an agent may take to say Hello, and a handshake may wait for its turn, in seconds.
_HELLO_S, _TURN_S = 10.0, 5.0
# How often links are looked at for silence and slow reading, in seconds.
_INSPECT_S = 1.0
# Agents that found no turn come back spread over so many milliseconds.
_RETRY_MS = (1_000, 5_000)
_CHUNK_BYTES = 256 << 10


class ChannelHandler(Protocol):
    """What a host does for agents.

    Calls for one link come in order and never concurrently: `open`, then what Welcome wanted through `receive`, then
    `opened`, then `receive` as messages come, at last `closed`. Calls for different links, and the unary ones, are
    concurrent. A HeadraceError becomes the call's status; anything else is logged and becomes INTERNAL.
    """

    async def enroll(self, request: EnrollRequest, peer: str) -> EnrollResponse:
        """Swaps a bootstrap token for an identity. Raises UnauthenticatedError for a bad token."""

    async def renew(self, agent_id: str, request: EnrollRequest) -> EnrollResponse:
        """A step (`claims["renew"]`: begin, commit) by which an agent that is known gets its next credential."""

    async def authenticate(self, credential: str, peer: str, certificate: bytes = b"") -> str:
        """The agent id of a credential, a client certificate (PEM) or both, for every call but Enroll.

        Raises UnauthenticatedError or ForbiddenError. The certificate names an agent, and the listener's client CA has
        verified it; whether that is the authority of agents is for the host to say.
        """

    async def open(self, link: Link, hello: Hello) -> Welcome:
        """Claims the session and says what is wanted.

        The host gives session id (the link's), instance, epoch, heartbeat, `metrics`, and `want_facts` and
        `want_workloads` where Hello's digests are not the ones it knows; protocol and message size are filled in.
        Raises CloseError to refuse. When it returns, `closed` will be called, once, whatever happens next.
        """

    async def opened(self, link: Link) -> None:
        """Welcome is out and the wanted lists have been received: now is the time to post what is desired."""

    async def receive(self, link: Link, message: Facts | Workloads | Answer | Goodbye | Proof) -> None:
        """Takes one message; heartbeats do not come here, `link.last_heard` has them.

        An Observed without attempt, running and desired means: nothing of this pipeline is left on the agent.
        """

    async def closed(self, link: Link, why: str) -> None:
        """The stream has ended; exactly once for each link that was opened, after every other call for it."""

    async def get_blob(self, agent_id: str, sha256: str) -> bytes:
        """A blob that this agent's own desired set names. Raises NotFoundError."""

    async def expect_blob(self, agent_id: str, sha256: str) -> None:
        """Called before more of a blob is taken than its first piece. Raises NotFoundError when nobody asked for it."""

    async def put_blob(self, agent_id: str, sha256: str, data: bytes) -> None:
        """Stores a blob that was expected; size and hash have been checked."""

    async def report(self, agent_id: str, request: ReportRequest) -> ReportResponse:
        """Stores a batch of metrics; answers when it is stored. Its `series` are all that its samples refer to."""


class Possession(Protocol):
    """What a host does whose agents have keys; see `headrace.proofs` for what they sign."""

    async def challenge(self, agent_id: str) -> bytes:
        """A nonce that the agent is to sign before it is let in; empty when it need not."""

    async def prove(self, agent_id: str, text: bytes, signature: bytes) -> None:
        """Raises UnauthenticatedError unless the agent's key signed the text."""

    async def check_call(self, agent_id: str, credential: str) -> None:
        """For calls without a certificate, other than Connect. Raises UnauthenticatedError for an unsigned one."""


class ChannelService:
    """The Channel service; a listener starts, drains and stops it."""

    names = (CHANNEL_SERVICE,)

    def __init__(
        self,
        handler: ChannelHandler,
        *,
        limits: Limits = DEFAULT_LIMITS,
        clock: Callable[[], float] = time.monotonic,
        rng: random.Random | None = None,
        possession: Possession | None = None,
    ) -> None:
        """Without `possession`, agents are asked for no proof."""
        self.handler = handler
        self.possession = possession
        self.limits = limits
        self.clock = clock
        self.pump = Pump(clock=clock)
        self._rng = rng or random.Random()
        self._links: set[Link] = set()
        self._turns = asyncio.Semaphore(limits.handshakes)
        self._draining = False
        self._streams = 0
        self._left = asyncio.Event()  # set whenever a link or a stream has gone
        self._inspector: asyncio.Task[None] | None = None

    @property
    def links(self) -> Collection[Link]:
        """The links that are open now; copy it before awaiting anything."""
        return self._links

    async def start(self) -> None:
        """Begins to look after the links."""
        self._inspector = asyncio.create_task(self._inspect(), name="inspector of links")

    async def drain(self, window_ms: int, message: str = "") -> None:
        """Asks every link to move elsewhere within the window; returns when all have left or it has passed.

        New sessions are refused from now on, so an agent with nowhere else to go stays until the end.
        """
        self._draining = True
        for link in tuple(self._links):
            link.drain(window_ms, message)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(window_ms / 1000):
                await self._gone(lambda: not self._links)

    async def stop(self, patience_s: float = 5.0) -> None:
        """Closes what is left, and returns when every host has been told, or its patience is over. Idempotent."""
        self._draining = True
        for link in tuple(self._links):
            link.close(CloseReason.DRAINED, "the control plane stops", self._rng.randint(*_RETRY_MS))
        try:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(patience_s):
                    await self._gone(lambda: not self._streams)
        finally:  # who forces the stop cancels the wait, not this
            if self._streams:
                late = sorted(link.agent_id for link in self._links)
                log.warning("links did not end in time", count=self._streams, agents=late[:10])
            for link in tuple(self._links):
                link.cut("the control plane stopped")
            if self._inspector is not None:
                self._inspector.cancel()
                await asyncio.gather(self._inspector, return_exceptions=True)
            await self.pump.close()

    # For conversations.

    @contextlib.asynccontextmanager
    async def gate(self) -> AsyncIterator[None]:
        """Waits for a turn to shake hands; who finds none in time, or comes during a drain, is sent away."""
        if self._draining:
            raise CloseError(CloseReason.OVERLOADED, "this control plane is stopping", self._rng.randint(*_RETRY_MS))
        try:
            async with asyncio.timeout(_TURN_S):
                await self._turns.acquire()
        except TimeoutError:
            busy = f"{self.limits.handshakes} handshakes are under way already"
            raise CloseError(CloseReason.OVERLOADED, busy, self._rng.randint(*_RETRY_MS)) from None
        try:
            yield
        finally:
            self._turns.release()

    def add(self, link: Link) -> None:
        """A link was opened."""
        self._links.add(link)

    def remove(self, link: Link) -> None:
        """A link has ended."""
        self._links.discard(link)
        self._left.set()

    # For the listener.

    def handlers(self) -> Mapping[str, Mapping[str, grpc.RpcMethodHandler[Any, Any]]]:
        """The methods of each service, by name, over bytes."""
        return {
            CHANNEL_SERVICE: {
                "Enroll": grpc.unary_unary_rpc_method_handler(answered("Enroll", self._enroll)),
                "Connect": grpc.stream_stream_rpc_method_handler(answered("Connect", self._connect)),
                "Report": grpc.stream_stream_rpc_method_handler(answered("Report", self._report)),
                "GetBlob": grpc.unary_stream_rpc_method_handler(answered("GetBlob", self._get_blob)),
                "PutBlob": grpc.stream_unary_rpc_method_handler(answered("PutBlob", self._put_blob)),
            }
        }

    async def _connect(self, _: object, context: Context) -> None:
        stream = _Stream(context)
        conversation = Conversation(
            self,
            stream,
            credential=credential_of(context.invocation_metadata()),
            certificate=certificate_of(context.auth_context()),
        )
        why = "the connection was lost"
        self._streams += 1
        try:
            # No helper stands between the read and grpc: each coroutine on this stack costs memory per agent.
            async with stream.scope:
                while not stream.ended:
                    stream.is_reading = True
                    data: Any = await context.read()
                    stream.is_reading = False
                    if data is grpc.aio.EOF:
                        break
                    stream.scope.reschedule(None)
                    await conversation.on_message(data)
                    if conversation.is_challenging:
                        stream.scope.reschedule(asyncio.get_running_loop().time() + _HELLO_S)
            why = "the stream ended without a goodbye"
        finally:
            try:
                await conversation.closed(why)
            finally:  # the call may be cancelled while its host is told; a stop must not wait for it then
                self._streams -= 1
                self._left.set()

    async def _enroll(self, data: bytes, context: Context) -> bytes:
        request = codec.decode(EnrollRequest, data)
        if "renew" in request.claims:
            return codec.encode(await self.handler.renew(await self._agent_id(context), request))
        return codec.encode(await self.handler.enroll(request, context.peer()))

    async def _report(self, _: object, context: Context) -> None:
        agent_id = await self._agent_id(context)
        table = SeriesTable()
        while (data := await read(context)) is not None:
            request = table.resolve(codec.decode(ReportRequest, data))
            await context.write(codec.encode(await self.handler.report(agent_id, request)))

    async def _get_blob(self, data: bytes, context: Context) -> None:
        request = codec.decode(GetBlobRequest, data)
        blob = await self.handler.get_blob(await self._agent_id(context), request.sha256)
        for start in range(request.offset, len(blob), _CHUNK_BYTES):
            await context.write(codec.encode(GetBlobResponse(data=blob[start : start + _CHUNK_BYTES])))

    async def _put_blob(self, _: object, context: Context) -> bytes:
        agent_id = await self._agent_id(context)
        if (data := await read(context)) is None:
            raise ProtocolError("blob: nothing came")
        first = codec.decode(PutBlobRequest, data)
        if first.size > self.limits.pipeline:
            raise LimitError(f"blob {first.sha256!r}: larger than the limit of {self.limits.pipeline} bytes")
        await self.handler.expect_blob(agent_id, first.sha256)
        blob = bytearray(first.data)
        while len(blob) <= first.size and (data := await read(context)) is not None:
            blob += codec.decode(PutBlobRequest, data).data
        if len(blob) != first.size:
            raise ProtocolError(f"blob {first.sha256!r}: {len(blob)} bytes came, {first.size} were announced")
        whole = bytes(blob)
        content.check(whole, sha256=first.sha256, what=f"blob {first.sha256!r}")
        await self.handler.put_blob(agent_id, first.sha256, whole)
        return codec.encode(PutBlobResponse())

    async def _agent_id(self, context: Context) -> str:
        credential = credential_of(context.invocation_metadata())
        certificate = certificate_of(context.auth_context())
        agent_id = await self.handler.authenticate(credential, context.peer(), certificate)
        if self.possession is not None and not certificate:
            await self.possession.check_call(agent_id, credential)
        return agent_id

    async def _inspect(self) -> None:
        while True:
            await asyncio.sleep(_INSPECT_S)
            now = self.clock()
            for link in tuple(self._links):
                link.inspect(now=now, slow_reader_s=self.limits.slow_reader_s)

    async def _gone(self, condition: Callable[[], bool]) -> None:
        while not condition():
            self._left.clear()
            await self._left.wait()


class _Stream:
    """The transport of a conversation, by grpc: the coroutine of the call reads, within `scope`."""

    __slots__ = ("_context", "ended", "is_reading", "peer", "scope")

    def __init__(self, context: Context) -> None:
        self.peer = context.peer()
        self.scope = asyncio.timeout(_HELLO_S)
        self.is_reading = False
        self.ended = False
        self._context = context

    async def send(self, data: bytes) -> None:
        try:
            await self._context.write(data)
        except grpc.aio.BaseError as error:
            raise ConnectionResetError(str(error)) from error

    def end(self) -> None:
        self.ended = True
        if self.is_reading and not self.scope.expired():
            self.scope.reschedule(asyncio.get_running_loop().time())  # a handler's call is left to end by itself
