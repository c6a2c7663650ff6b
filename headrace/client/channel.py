"""The agent's side of the channel: stays connected, and hands what comes to an `AgentHandler`.

`AgentChannel` opens one session after the other: after a failure with a delay of full jitter; at a drain, and by age
and by bytes (what stands between caps a stream's life and body), the next one before the last is left. What a session
says and obeys is `uplink` and `headrace.session`. Everything runs in one event loop.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import random
import time
from collections.abc import AsyncIterator, Callable, Mapping
from datetime import UTC, datetime

import structlog

from headrace import content
from headrace.client.commands import Commands
from headrace.client.handler import AgentHandler, Backlog, ChannelState, Identity, OnTime
from headrace.client.uplink import Pending, Uplink
from headrace.connection import Connection
from headrace.errors import (
    ConflictError,
    ForbiddenError,
    HeadraceError,
    LimitError,
    ProtocolError,
    UnauthenticatedError,
    UnavailableError,
)
from headrace.limits import DEFAULT_LIMITS, Limits
from headrace.location import parse_location
from headrace.messages import (
    Authorities,
    Command,
    Complete,
    Desired,
    EnrollRequest,
    EnrollResponse,
    GetBlobRequest,
    Hello,
    PutBlobRequest,
    Remove,
    Secrets,
    ServerMessage,
    Variables,
)
from headrace.retry import FullJitter, patient
from headrace.rpcs.channel import CHANNEL
from headrace.security import ClientTls
from headrace.session import CloseError, Known, PlaneSeen
from headrace.types import CloseReason

log = structlog.get_logger(__name__)

# A session is renewed at this age in seconds, give or take a fifth, and after so many bytes down; when it is full, too.
_RENEW_AGE_S, _RENEW_RECEIVED = 1800.0, 64 << 20
# A session that lasted so long, in seconds, was a good one: the next failure is the first again.
_STEADY_S = 10.0
_CHUNK_BYTES = 256 << 10
_ENROLL_S = 10.0
INSECURE_FLAG = "--channel-insecure"


class AgentChannel:
    """One agent's channel to its control plane; `run` it once, in a task of its own, and cancel it to stop."""

    def __init__(
        self,
        target: str,
        handler: AgentHandler,
        *,
        boot_id: str,
        tls: ClientTls | None = None,
        insecure: bool = False,
        limits: Limits = DEFAULT_LIMITS,
        clock: Callable[[], float] = time.monotonic,
        rng: random.Random | None = None,
        on_state: Callable[[ChannelState], None] | None = None,
        backlog: Backlog | None = None,
        on_time: OnTime | None = None,
    ) -> None:
        """`target` is host:port or a URL; off loopback it needs `tls`, or `insecure`. Raises InvalidError.

        `boot_id` is random per process start: by it, two processes with one identity are told apart. A `backlog` is
        reported while a session is open whose Welcome says that there is a metric store. `on_time` hears what time it
        is at the control plane, as often as that says so.
        """
        self._target = target
        self._handler = handler
        self._boot_id = boot_id
        self._tls = tls
        self._insecure = insecure
        self._limits = limits
        self._clock = clock
        self._rng = rng or random.Random()
        self._delays = FullJitter(self._rng)
        self._on_state = on_state
        self._backlog = backlog
        self._on_time = on_time
        self._state = ChannelState(connected=False, since=datetime.now(UTC))
        self._pending = Pending()
        self._known = Known(PlaneSeen())
        self._commands: Commands | None = None
        self._uplink: Uplink | None = None
        self._sessions = 0
        self._failures = 0
        self._connection("")  # what is wrong with the settings is said here, not in `run`

    @property
    def state(self) -> ChannelState:
        """How the channel is doing now."""
        return self._state

    async def run(self) -> None:
        """Stays connected until cancelled; then says goodbye and closes."""
        self._known = Known(self._handler.plane(), self._handler.observed().values())
        async with asyncio.TaskGroup() as tasks:
            self._commands = Commands(self._handler.on_command, tasks=tasks, answered=self._pending.answer)
            uplink: Uplink | None = None
            while True:
                try:
                    uplink = uplink or await self._open()
                    uplink = await self._stay(uplink)
                except (HeadraceError, CloseError) as error:
                    await self._recover(error, uplink)
                    uplink = None
                except Exception as error:
                    log.exception("the agent failed to take what it was sent", target=self._target)
                    await self._recover(error, uplink)
                    uplink = None

    def notify(self, *pipelines: str) -> None:
        """The Observed of these pipelines changed; sent within 50 ms when connected, latest wins."""
        self._pending.add(*pipelines)

    def notify_facts(self) -> None:
        """The facts changed."""
        self._pending.add(facts=True)

    def move(self) -> None:
        """Opens the next session now, with the identity of that moment, and then leaves this one."""
        if self._uplink is not None:
            self._uplink.must_move = True
            self._uplink.traffic.set()

    async def enroll(self, request: EnrollRequest) -> EnrollResponse:
        """Renews the identity that this session was opened by. Raises UnavailableError and the plane's refusal."""
        response: EnrollResponse = await self._connected().unary(CHANNEL["Enroll"], request, timeout=_ENROLL_S)
        return response

    async def get_blob(self, sha256: str) -> bytes:
        """A blob that the desired set names, checked. Raises UnavailableError, NotFoundError, LimitError."""
        blob = bytearray()
        call = self._connected().server_stream(CHANNEL["GetBlob"], GetBlobRequest(sha256=sha256))
        async with contextlib.aclosing(call) as pieces:
            async for piece in pieces:
                blob += piece.data
                if len(blob) > self._limits.pipeline:
                    raise LimitError(f"blob {sha256[:12]}: larger than the limit of {self._limits.pipeline} bytes")
        content.check(bytes(blob), sha256=sha256, what=f"blob {sha256[:12]}")
        return bytes(blob)

    async def put_blob(self, sha256: str, data: bytes) -> None:
        """Uploads a blob that was asked for by a command. Raises UnavailableError and the control plane's refusal."""

        async def pieces() -> AsyncIterator[PutBlobRequest]:
            yield PutBlobRequest(sha256=sha256, size=len(data), data=data[:_CHUNK_BYTES])
            for start in range(_CHUNK_BYTES, len(data), _CHUNK_BYTES):
                yield PutBlobRequest(data=data[start : start + _CHUNK_BYTES])

        await self._connected().client_stream(CHANNEL["PutBlob"], pieces())

    async def _open(self) -> Uplink:
        """Opens the next session."""
        identity = self._handler.identity()
        self._sessions += 1
        uplink = Uplink(
            self._way(identity),
            known=self._known,
            source=self._handler,
            pending=self._pending,
            deliver=self._deliver,
            clock=self._clock,
            sign=identity.sign,
        )
        hello = Hello(
            agent_id=identity.agent_id,
            boot_id=self._boot_id,
            session_number=self._sessions,
            instance_id=self._known.plane.instance_id,
            epoch=self._known.plane.epoch,
        )
        try:
            await uplink.open(hello)
        except BaseException:
            await uplink.connection.close()
            raise
        if self._on_time is not None and uplink.welcome.at is not None:
            self._on_time(uplink.welcome.at, uplink.opening_s)
        return uplink

    async def _stay(self, uplink: Uplink) -> Uplink:
        """Stays in a session until the next one is open, and returns that; raises what ended it otherwise."""
        self._uplink = uplink
        try:
            await self._handler.on_welcome(uplink.welcome)
            self._set_state(connected=True)
            return await self._serve(uplink)
        finally:
            await uplink.connection.close()

    async def _serve(self, uplink: Uplink) -> Uplink:
        serving = asyncio.create_task(uplink.serve(), name="session of the channel")
        moving = asyncio.create_task(self._move(uplink), name="mover of the channel")
        reporting = asyncio.create_task(self._report(uplink), name="reports of the channel")
        try:
            await asyncio.wait({serving, moving}, return_when=asyncio.FIRST_COMPLETED)
            if uplink.is_moving:  # the control plane ends the old session as soon as it has the new one
                await asyncio.wait({moving})
            if not moving.done():
                await serving
            return await moving
        except asyncio.CancelledError:
            await uplink.goodbye("the agent stops")
            if moving.done() and not moving.cancelled() and moving.exception() is None:
                await moving.result().connection.close()
            raise
        finally:
            uplink.retire()
            moving.cancel()
            reporting.cancel()
            await asyncio.gather(serving, moving, reporting, return_exceptions=True)

    async def _report(self, uplink: Uplink) -> None:
        """Beside the session, which goes on whatever becomes of the metrics."""
        if self._backlog is None or not uplink.welcome.metrics:
            return
        from headrace.client.report import Reports  # not every agent has metrics to report

        limit = uplink.welcome.max_message_bytes or self._limits.message
        try:
            await Reports(
                uplink.connection, self._backlog, rng=self._rng, clock=self._clock, limit=limit, on_time=self._on_time
            ).run()
        except Exception:
            log.exception("metrics are not reported in this session any more", target=self._target)

    async def _move(self, uplink: Uplink) -> Uplink:
        """Opens the next session when it is time to, as often as it takes."""
        await self._until_time_to_move(uplink)
        failures = 0
        while True:
            uplink.is_moving = True
            try:
                return await self._open()
            except (HeadraceError, CloseError) as error:
                if uplink.has_ended:
                    raise
                log.info("no new session yet", target=self._target, reason=str(error))
                if isinstance(error, UnauthenticatedError):
                    await self._may_try_again(error)
            finally:
                uplink.is_moving = False
            await asyncio.sleep(self._delays.delay(failures))
            failures += 1

    async def _until_time_to_move(self, uplink: Uplink) -> None:
        renew_at = uplink.opened_at + _RENEW_AGE_S * self._rng.uniform(0.8, 1.2)
        while uplink.session.drain is None:
            uplink.traffic.clear()
            if uplink.must_move:
                return
            if uplink.is_full or uplink.received_bytes > _RENEW_RECEIVED:
                return
            try:
                async with asyncio.timeout(max(0.0, renew_at - self._clock())):
                    await uplink.traffic.wait()
            except TimeoutError:
                return
        now = self._clock()
        await asyncio.sleep(uplink.session.move_at(now=now, chance=self._rng.random()) - now)

    async def _recover(self, error: Exception, uplink: Uplink | None) -> None:
        """Says what happened, asks the handler where that can help, and waits before the next attempt."""
        self._uplink = None
        if uplink is not None and self._clock() - uplink.opened_at >= _STEADY_S:
            self._failures = 0
        delay = self._delays.delay(self._failures)
        self._failures += 1
        refusal = _refusal(error, was_open=uplink is not None)
        if refusal is not None:
            self._set_state(connected=False, error=str(error))
            if not await self._may_try_again(refusal):
                delay = patient(self._rng)
        elif isinstance(error, CloseError):
            delay = max(delay, error.retry_after_ms / 1000)
        self._set_state(connected=False, error=str(error), retry_in_s=delay)
        log.warning("not connected", target=self._target, reason=str(error), retry_in_s=round(delay, 1))
        await asyncio.sleep(delay)

    async def _may_try_again(self, refusal: HeadraceError) -> bool:
        try:
            return await self._handler.on_refused(refusal)
        except HeadraceError as error:  # such as enrolling anew at a server that is away: soon is soon enough
            log.warning("the identity could not be renewed", target=self._target, reason=error.message)
        except Exception:
            log.exception("the agent failed to take a refusal", target=self._target)
        return True

    async def _deliver(self, message: ServerMessage) -> None:
        handler = self._handler
        match message:
            case Desired():
                await handler.on_desired(message)
            case Remove():
                await handler.on_remove(message)
            case Variables():
                await handler.on_variables(message)
            case Secrets():
                await handler.on_secrets(message)
            case Authorities():
                await handler.on_authorities(message)
            case Complete():
                await handler.on_complete(message)
            case Command() if self._commands is not None:
                self._commands.submit(message)

    def _way(self, identity: Identity) -> Connection:
        """By certificate where there is a door for that, and by the other door after each failure there."""
        location = parse_location(self._target)
        address, tls = location.address, self._tls or (ClientTls() if location.tls else None)
        has_door = identity.certificate_port and identity.certificate and identity.key and not address.unix
        if not has_door or tls is None or self._failures % 2:
            return self._connection(identity.credential)
        return Connection(
            str(dataclasses.replace(address, port=identity.certificate_port)),
            tls=dataclasses.replace(tls, certificate=identity.certificate, key=identity.key),
            limits=self._limits,
        )

    def _connection(self, credential: str) -> Connection:
        return Connection(
            self._target,
            credential=credential,
            tls=self._tls,
            insecure=self._insecure,
            insecure_flag=INSECURE_FLAG,
            limits=self._limits,
        )

    def _connected(self) -> Connection:
        if self._uplink is None:
            raise UnavailableError(f"not connected to {self._target}: {self._state.error or 'no session yet'}")
        return self._uplink.connection

    def _set_state(self, *, connected: bool, error: str = "", retry_in_s: float = 0.0) -> None:
        since = self._state.since if self._state.connected is connected else datetime.now(UTC)
        self._state = ChannelState(connected=connected, since=since, error=error, retry_in_s=retry_in_s)
        if self._on_state is not None:
            self._on_state(self._state)


_REFUSALS: Mapping[CloseReason, type[HeadraceError]] = {
    CloseReason.DUPLICATE_IDENTITY: ConflictError,
    CloseReason.REVOKED: ForbiddenError,
}


def _refusal(error: Exception, *, was_open: bool) -> HeadraceError | None:
    """The error to show the handler, where trying again soon would not help."""
    if isinstance(error, CloseError) and error.reason in _REFUSALS:
        return _REFUSALS[error.reason](str(error))
    if isinstance(error, CloseError) and error.reason is CloseReason.PROTOCOL and not was_open:
        return ProtocolError(str(error))
    if isinstance(error, UnauthenticatedError | ForbiddenError):
        return error
    return None
