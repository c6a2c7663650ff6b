"""One session of an agent on one Connect stream: from Hello to its end.

It reads, and hands on what the session's rules let through, one message at a time; and it writes what is pending and
the heartbeats. `AgentChannel` decides when to open one and what follows its end. Reading and writing are two tasks of
`serve`; a handler's call is never cut short, except when its process stops.
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime
from functools import partial
from typing import Any, Protocol

import grpc.aio

from headrace import codec
from headrace.client.fitting import fit
from headrace.connection import Connection, RawStream
from headrace.digests import facts_digest, workloads_digest
from headrace.errors import ProtocolError, UnavailableError
from headrace.messages import (
    AgentMessage,
    Answer,
    Challenge,
    Close,
    Goodbye,
    Hello,
    Proof,
    ServerMessage,
    Welcome,
    Workloads,
)
from headrace.proofs import CallCredential, call_text, session_text
from headrace.rpcs.channel import CHANNEL
from headrace.session import PROTOCOL_MAX, PROTOCOL_MIN, AgentSession, CloseError, Known, State
from headrace.types import Facts, Observed

# How long connecting and shaking hands may take together, in seconds.
_OPEN_S = 20.0
# The shortest time between two messages about changes, in seconds: what changes meanwhile goes into the second.
_COALESCE_S = 0.05
# What one stream sends before the next takes its place, and one message at most, in bytes: both together are less than
# the 1 MiB of a call that nginx lets through when nobody tells it otherwise.
_STREAM_BYTES, _MESSAGE_BYTES = 512 << 10, 448 << 10
# After the writer failed: how long the reader may take to say why; and at the end, how long a handler's call may take.
_LAST_WORD_S, _LAST_CALL_S = 1.0, 10.0


class Source(Protocol):
    """Where the state that an agent reports is looked up, at the moment of sending."""

    def facts(self) -> Facts:
        """As they are now."""

    def observed(self) -> Mapping[str, Observed]:
        """All workloads by pipeline, as they are now."""


class Pending:
    """What is to be reported: names of what changed, looked up when sent. Outlives sessions; latest wins."""

    def __init__(self) -> None:
        self.changed = asyncio.Event()
        self.answers: dict[str, Answer] = {}
        self._facts = False
        self._everything = False
        self._pipelines: set[str] = set()

    def add(self, *pipelines: str, facts: bool = False, everything: bool = False) -> None:
        """Marks what is to be sent."""
        self._pipelines.update(pipelines)
        self._facts = self._facts or facts
        self._everything = self._everything or everything
        self.changed.set()

    def answer(self, answer: Answer) -> None:
        """Adds how a command ended; kept until it was sent."""
        self.answers[answer.command_id] = answer
        self.changed.set()

    def take(self, source: Source) -> list[AgentMessage]:
        """The messages that say it all. A pipeline that is no longer there is reported as an empty Observed."""
        messages: list[AgentMessage] = [source.facts()] if self._facts else []
        if self._everything:
            messages.append(Workloads(observed=tuple(source.observed().values()), complete=True))
        elif self._pipelines:
            now = source.observed()
            changed = tuple(now.get(name) or Observed(pipeline=name) for name in sorted(self._pipelines))
            messages.append(Workloads(observed=changed))
        messages.extend(self.answers.values())
        self.answers.clear()
        self._pipelines.clear()
        self._facts = self._everything = False
        self.changed.clear()
        return messages

    def put_back(self, message: AgentMessage) -> None:
        """A message that could not be sent."""
        match message:
            case Facts():
                self.add(facts=True)
            case Workloads():
                self.add(*(observed.pipeline for observed in message.observed), everything=message.complete)
            case Answer():
                self.answer(message)


class Uplink:
    """Open it, serve it once, and retire it; one that failed to open is closed by `retire` too."""

    def __init__(
        self,
        connection: Connection,
        *,
        known: Known,
        source: Source,
        pending: Pending,
        deliver: Callable[[ServerMessage], Awaitable[None]],
        clock: Callable[[], float],
        sign: Callable[[bytes], bytes] | None = None,
    ) -> None:
        self.connection = connection
        self.session = AgentSession(known, now=clock())
        self.opened_at = clock()
        self.sent_bytes = 0
        self.received_bytes = 0
        self.traffic = asyncio.Event()
        """Set with each message: for whoever watches age, bytes and drain."""
        self.must_move = False
        """Whether somebody wants the next session now."""
        self.has_ended = False
        """Whether `serve` has nothing more to read or write."""
        self.is_moving = False
        """Whether the session after this one is being opened."""
        self.welcome: Welcome
        """What opened it; set by `open`."""
        self.opening_s = 0.0
        """How long before Welcome came the control plane may have written its time into it."""
        self._source = source
        self._pending = pending
        self._deliver = deliver
        self._clock = clock
        self._sign = sign
        self._stream: RawStream | None = None
        self._limit = _MESSAGE_BYTES
        self._owes_reply = asyncio.Event()
        self._write_lock = asyncio.Lock()
        self._reading: asyncio.Timeout | None = None
        self._delivering = False
        self._retired = False

    async def open(self, hello: Hello) -> None:
        """Says Hello and waits for Welcome. Raises CloseError when refused, and HeadraceError."""
        hello = dataclasses.replace(
            hello,
            protocol_min=PROTOCOL_MIN,
            protocol_max=PROTOCOL_MAX,
            facts_digest=facts_digest(self._source.facts()),
            workloads_digest=workloads_digest(self._source.observed().values()),
        )
        try:
            async with asyncio.timeout(_OPEN_S):
                self._stream = self.connection.raw_stream(CHANNEL["Connect"])
                asked = self._clock()
                await self._send(hello)
                signs = False
                while not isinstance(welcome := await self._receive(), Welcome):
                    # Anything else is a kind of message that this version does not know.
                    if isinstance(welcome, Challenge):
                        asked = self._clock()
                        await self._send(Proof(signature=self._signed(session_text(welcome.nonce, hello))))
                        signs = True
                self.opening_s = self._clock() - asked
        except TimeoutError:
            raise UnavailableError(f"{self.connection.address} did not let us in within {_OPEN_S:g} s") from None
        if welcome.want_facts or welcome.want_workloads:
            self._pending.add(facts=welcome.want_facts, everything=welcome.want_workloads)
        if signs and welcome.at is not None:
            self.connection.sign_calls(partial(self._call_credential, hello.agent_id, welcome.at, self._clock()))
        self.welcome = welcome
        self._limit = min(welcome.max_message_bytes or _MESSAGE_BYTES, _MESSAGE_BYTES)

    def _signed(self, text: bytes) -> bytes:
        if self._sign is None:
            raise ProtocolError(
                "the control plane asks for a proof by the agent's key, and there is none here; enrol the agent anew"
            )
        return self._sign(text)

    def _call_credential(self, agent_id: str, at: datetime, then: float) -> str:
        """By the plane's time, whatever this host's clock says."""
        at_ms = int(at.timestamp() * 1000 + (self._clock() - then) * 1000)
        return str(CallCredential(agent_id, at_ms, self._signed(call_text(agent_id, at_ms))))

    @property
    def is_full(self) -> bool:
        """Whether it has sent so much that only heartbeats still go, and all else waits for the next session."""
        return self.sent_bytes > _STREAM_BYTES

    async def serve(self) -> None:
        """Goes on until the stream ends: returns when it was retired, raises CloseError or HeadraceError otherwise."""
        writing = asyncio.create_task(self._write(), name="writer of the channel")
        reading = asyncio.create_task(self._read(), name="reader of the channel")
        try:
            await asyncio.wait({writing, reading}, return_when=asyncio.FIRST_COMPLETED)
            if not reading.done():  # why the stream ended is for the reader to know, and may be on its way
                await asyncio.wait({reading}, timeout=_LAST_WORD_S)
        finally:
            self.has_ended = True
            writing.cancel()
            self.retire()
            await asyncio.wait({writing, reading}, timeout=_LAST_CALL_S)
            reading.cancel()
            await asyncio.gather(writing, reading, return_exceptions=True)
        for task in (reading, writing):
            if not task.cancelled():
                task.result()

    def retire(self) -> None:
        """Nothing more is sent or handed on; `serve` returns when the handler's call that is under way has."""
        self._retired = True
        if self._reading is not None and not self._reading.expired():
            self._reading.reschedule(asyncio.get_running_loop().time())

    async def goodbye(self, message: str, *, patience_s: float = 1.0) -> None:
        """Tells the control plane that the agent leaves on purpose, as far as it still can."""
        if self.session.state in (State.SYNCING, State.LIVE, State.DRAINING):
            try:
                async with asyncio.timeout(patience_s):
                    await self._send(Goodbye(message=message))
                    if self._stream is not None:
                        await self._stream.done_writing()
                        await self._stream.code()
            except (TimeoutError, UnavailableError):
                pass

    async def _read(self) -> None:
        while not self._retired:
            message = await self._receive()
            if message is None:
                continue
            self._delivering = True
            try:
                await self._deliver(message)
            finally:
                self._delivering = False
                self.session.heard(now=self._clock())

    async def _write(self) -> None:
        session, pending = self.session, self._pending
        while not self._retired:
            now = self._clock()
            if self._delivering:
                session.heard(now=now)  # it is we who are slow to listen
            if session.is_dead(now=now):
                raise UnavailableError(f"{self.connection.address} has fallen silent; the connection is half open")
            self._owes_reply.clear()
            heartbeat = session.heartbeat(now=now)
            messages = [] if self.is_full else pending.take(self._source)
            for index, message in enumerate(messages):
                if self.is_full:
                    for unsent in messages[index:]:
                        pending.put_back(unsent)
                    break
                try:
                    await self._send(message)
                except BaseException:
                    for unsent in messages[index:]:
                        pending.put_back(unsent)
                    raise
            if heartbeat is not None and (heartbeat.reply or not messages):
                await self._send(heartbeat)
            if messages:
                await asyncio.sleep(_COALESCE_S)
            await self._until_due()

    async def _until_due(self) -> None:
        due = self.session.wake_at()
        try:
            async with asyncio.timeout(None if due is None else max(0.0, due - self._clock())):
                await (self._owes_reply if self.is_full else self._pending.changed).wait()
        except TimeoutError:
            pass

    async def _send(self, message: AgentMessage) -> None:
        if self._stream is None:
            raise UnavailableError(f"not connected to {self.connection.address}")
        async with self._write_lock:
            self.session.sent(message, now=self._clock())
            data = fit(message, self._limit)
            self.sent_bytes += len(data)
            self.traffic.set()
            with self.connection.failing():
                await self._stream.write(data)

    async def _receive(self) -> ServerMessage | None:
        """What to act on; None when there is nothing, or when retired. Raises when the stream has ended."""
        if self._stream is None:
            raise UnavailableError(f"not connected to {self.connection.address}")
        try:
            async with asyncio.timeout(None) as self._reading:
                with self.connection.failing():
                    data: Any = await self._stream.read()
        except TimeoutError:
            if self._retired:
                return None
            raise
        finally:
            self._reading = None
        if data is grpc.aio.EOF:
            raise UnavailableError(f"{self.connection.address} ended the stream")
        self.received_bytes += len(data)
        self.traffic.set()
        now = self._clock()
        message = codec.decode_server(data)
        answered = self.session.received(message, now=now)
        if isinstance(answered, Close):
            raise CloseError(answered.reason, answered.message, answered.retry_after_ms)
        if message is not None and answered is None:
            self._owes_reply.set()
            self._pending.changed.set()
        return answered
