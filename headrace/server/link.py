"""A link: one open Connect stream as the host sees it, over a transport that knows nothing of the channel's rules.

Posting never blocks: bytes wait in an outbox, one slot per key, and the `Pump` sends them. Links have no task of their
own; thousands of them idle cost memory only. Everything here runs in the event loop of its service.
"""

from __future__ import annotations

import asyncio
import math
from datetime import UTC, datetime
from typing import Protocol

import structlog

from headrace import codec
from headrace.messages import Close, Drain, Hello
from headrace.outbox import Outbox
from headrace.server.pump import Pump
from headrace.session import Liveness, ServerSession, State
from headrace.types import CloseReason

log = structlog.get_logger(__name__)


class Transport(Protocol):
    """What carries a stream; the other way, `Conversation` has `on_message(bytes)` and `closed(reason)`."""

    peer: str

    async def send(self, data: bytes) -> None:
        """Sends one message; returns when the next may be sent. Raises ConnectionError when the stream is gone."""

    def end(self) -> None:
        """No more messages are wanted: the stream is to end as soon as its conversation comes to a rest."""


class Link:
    """One open Connect stream. Used from its event loop only; nothing here blocks or raises."""

    __slots__ = (
        "_outbox", "_pump", "_ready", "_sending", "_session", "_transport", "_why", "_writing_since",
        "agent_id", "boot_id", "flushing", "opened_at", "peer", "session_id", "session_number", "shown",
    )  # fmt: skip

    def __init__(
        self,
        hello: Hello,
        *,
        session_id: str,
        session: ServerSession,
        transport: Transport,
        pump: Pump,
        shown: str = "credential",
    ) -> None:
        self.agent_id = hello.agent_id
        self.boot_id = hello.boot_id
        self.session_id = session_id
        """Random, unique."""
        self.session_number = hello.session_number
        self.peer = transport.peer
        """Address of the other end, as grpc writes it: `ipv4:127.0.0.1:5000`."""
        self.shown = shown
        """By what the agent showed who it is: `credential`, `key` (a proof that it has it) or `certificate`."""
        self.opened_at = datetime.now(UTC)
        self._session = session
        self._transport = transport
        self._pump = pump
        self._outbox = Outbox()
        self._writing_since = math.inf
        self._ready = False  # Welcome is out
        self._sending = False  # a flush is on its way, or under way as `flushing`
        self._why = ""
        self.flushing: asyncio.Task[None] | None = None

    @property
    def last_heard(self) -> float:
        """Seconds of the service's clock (monotonic) at the last message of any kind."""
        return self._session.last_heard

    @property
    def is_open(self) -> bool:
        """Whether what is posted may still be sent."""
        return not self._outbox.closed

    def liveness(self) -> Liveness:
        """alive, suspect (3 heartbeats missed) or lost (5, and about to be cut)."""
        return self._session.liveness(now=self._pump.clock())

    def post(self, key: str, data: bytes) -> None:
        """Sends prebuilt bytes (`codec.encode_server`) soon; the latest wins among those of a key not yet sent.

        Keys come from `headrace.outbox.key_of`; of two generations of a pipeline, post the newer one last. Bytes may be
        shared by every link. After the end it does nothing.
        """
        self._outbox.put(key, data)
        self._wake()

    def close(self, reason: CloseReason, message: str = "", retry_after_ms: int = 0) -> None:
        """Ends the session and says why; what was posted and not sent is dropped."""
        if self._outbox.closed:
            return
        if self._session.state is State.CLOSED:  # the agent has just said goodbye
            self.cut("goodbye")
            return
        close = Close(reason=reason, message=message, retry_after_ms=retry_after_ms)
        self._session.sent(close)
        self._outbox.close(codec.encode_server(close))
        self._why = self._why or f"closed: {reason}"
        self._wake()

    def drain(self, window_ms: int, message: str = "") -> None:
        """Asks the agent to open a new session elsewhere within the window and then to leave this one."""
        if self._outbox.closed or not self._session.is_open:
            return
        drain = Drain(window_ms=window_ms, message=message)
        self._session.sent(drain)
        self.post("drain", codec.encode_server(drain))

    # For the service and the conversation.

    async def welcome(self, data: bytes) -> None:
        """Sends the first message."""
        self._writing_since = self._pump.clock()
        await self._transport.send(data)
        self._writing_since = math.inf

    def start(self) -> None:
        """From now on, what is posted is sent; what was posted before goes first."""
        self._ready = True
        if self._outbox:
            self._wake()

    def inspect(self, *, now: float, slow_reader_s: float) -> None:
        """Cuts a link whose reader takes nothing, or that has fallen silent."""
        if now - self._writing_since > slow_reader_s:
            self.cut(f"too slow: took nothing for {slow_reader_s:g} s")
        elif self._session.liveness(now=now) is Liveness.LOST:
            self.cut(f"lost: nothing heard for {now - self.last_heard:.0f} s")

    def cut(self, why: str) -> None:
        """Ends the stream without a word to the other end, which would not hear it."""
        self.finish(why)
        self._transport.end()

    def finish(self, why: str) -> str:
        """Nothing is sent any more; answers why the link ended, which is the first reason given."""
        self._why = self._why or why
        self._outbox.close()
        if self.flushing is not None:
            self.flushing.cancel()
        return self._why

    async def flush(self) -> None:
        """Sends what waits, in order; the pump's, one at a time."""
        try:
            while (data := self._outbox.take()) is not None:
                self._writing_since = self._pump.clock()
                await self._transport.send(data)
        except ConnectionError:
            self._outbox.close()  # whoever reads the stream finds out why
        except Exception as error:
            log.exception("sending failed", agent=self.agent_id, session=self.session_id)
            self.cut(f"sending failed: {error!r}")
        finally:
            self._writing_since = math.inf
            self._sending = False
            self.flushing = None
        if self._outbox.closed:
            self._transport.end()

    def _wake(self) -> None:
        if self._ready and not self._sending:
            self._sending = True
            self._pump.submit(self)
