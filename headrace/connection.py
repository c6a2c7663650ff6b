"""One grpc connection to a control plane, for either API: raw bytes below, dataclasses and HeadraceErrors above.

It connects at the first call and by itself again when the line broke; retrying a call is the caller's. It belongs to
one event loop; calls may run concurrently.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from typing import Any

import grpc
import grpc.aio

from headrace import codec, status
from headrace.errors import HeadraceError, InvalidError, UnavailableError
from headrace.limits import DEFAULT_LIMITS, Limits
from headrace.location import parse_location
from headrace.proxies import proxy_of
from headrace.rpcs.rpc import Rpc
from headrace.security import ClientTls, Metadata, bearer, check_plaintext

METADATA_BYTES = 128 << 10
"""Of one call at most, at both ends: faults travel there."""

ENVELOPE_BYTES = 64 << 10
"""How much larger a message may be than the payload in it."""

RawStream = grpc.aio.StreamStreamCall[bytes, bytes]


def options(limits: Limits) -> list[tuple[str, Any]]:
    """The settings that both ends of a connection share."""
    size = limits.message + ENVELOPE_BYTES
    return [
        ("grpc.max_receive_message_length", size),
        ("grpc.max_send_message_length", size),
        ("grpc.max_metadata_size", METADATA_BYTES),
        ("grpc.absolute_max_metadata_size", METADATA_BYTES),
    ]


class Connection:
    """A connection to `address`: host:port, or a URL, whose path is then put before that of each call.

    It goes through the proxy that the environment names for it; see `headrace.proxies`. What is wrong with its settings
    is said at once: InvalidError, or UnauthenticatedError for the credential.
    """

    def __init__(
        self,
        address: str,
        *,
        credential: str = "",
        tls: ClientTls | None = None,
        insecure: bool = False,
        insecure_flag: str = "insecure=True",
        limits: Limits = DEFAULT_LIMITS,
        hint: str = "",
    ) -> None:
        location = parse_location(address)
        if location.tls is False and tls is not None:
            raise InvalidError(f"address {address!r} is plain text, and TLS is asked for; write https://")
        if location.tls and tls is None:
            tls = ClientTls()
        check_plaintext(location.address, secure=tls is not None, insecure=insecure, flag=insecure_flag)
        self.address = address
        self._where, self._prefix = str(location.address), location.prefix
        self._proxy = proxy_of(location.address, tls=tls is not None, environment=os.environ)
        self._tls = tls
        self._bearer = bearer(credential)
        self._sign: Callable[[], str] | None = None
        self._limits = limits
        self._hint = hint
        self._channel: grpc.aio.Channel | None = None
        self._is_closed = False

    async def close(self) -> None:
        """Ends the connection; calls that are under way, and those to come, end in an UnavailableError."""
        self._is_closed = True
        if self._channel is not None:
            await self._channel.close()

    def sign_calls(self, credential: Callable[[], str]) -> None:
        """From now on each call carries a credential that was made for it."""
        self._sign = credential

    @property
    def _metadata(self) -> Metadata:
        return bearer(self._sign()) if self._sign is not None else self._bearer

    async def unary(self, rpc: Rpc, request: object, *, timeout: float | None = None) -> Any:
        """One request, one response."""
        call: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = self._open().unary_unary(self._prefix + rpc.path)
        with self.failing():
            data = await call(codec.encode(request), timeout=timeout, metadata=self._metadata)
        return codec.decode(rpc.response, data)

    def call(self, path: str) -> grpc.aio.UnaryUnaryMultiCallable[bytes, bytes]:
        """Any method by its path, as bytes and without a credential; its AioRpcErrors go through `error`."""
        return self._open().unary_unary(self._prefix + path)

    async def server_stream(self, rpc: Rpc, request: object) -> AsyncGenerator[Any, None]:
        """One request, many responses; leaving the iteration ends the call."""
        method: grpc.aio.UnaryStreamMultiCallable[bytes, bytes] = self._open().unary_stream(self._prefix + rpc.path)
        call = method(codec.encode(request), metadata=self._metadata)
        try:
            with self.failing():
                async for data in call:
                    yield codec.decode(rpc.response, data)
        finally:
            call.cancel()

    async def client_stream(self, rpc: Rpc, requests: AsyncIterable[object]) -> Any:
        """Many requests, one response."""

        async def encoded() -> AsyncIterator[bytes]:
            async for request in requests:
                yield codec.encode(request)

        method: grpc.aio.StreamUnaryMultiCallable[bytes, bytes] = self._open().stream_unary(self._prefix + rpc.path)
        with self.failing():
            data = await method(encoded(), metadata=self._metadata)
        return codec.decode(rpc.response, data)

    def raw_stream(self, rpc: Rpc) -> RawStream:
        """Both ways, as bytes, for those who keep the stream themselves, each step of it under `failing`."""
        return self._open().stream_stream(self._prefix + rpc.path)(metadata=self._metadata)

    def error(self, failure: grpc.aio.AioRpcError) -> HeadraceError:
        """The HeadraceError that a failed call stands for."""
        through = f" through the proxy {self._proxy}" if self._proxy else ""
        return status.error_of(failure, target=self.address + through, hint=self._hint)

    @contextmanager
    def failing(self) -> Iterator[None]:
        """Failures of a call as HeadraceErrors, and a cancellation where there was one.

        grpc cancels whoever waits for a call when its channel is closed. That is not their end: a task that renews a
        certificate, say, would be gone without a word. The other way round, it answers a task that is cancelled just as
        its call breaks with the call's failure alone, and whoever then tries again is never cancelled.
        """
        task = asyncio.current_task()
        assert task is not None  # calls are made by tasks
        before = task.cancelling()
        try:
            yield
        except (grpc.aio.AioRpcError, asyncio.InvalidStateError) as failure:
            if task.cancelling() > before:
                raise asyncio.CancelledError from failure
            if isinstance(failure, grpc.aio.AioRpcError):
                raise self.error(failure) from failure
            raise UnavailableError(f"the stream to {self.address} has ended") from failure
        except asyncio.CancelledError:
            if self._is_closed and task.cancelling() == before:
                raise self._closed() from None
            raise
        if task.cancelling() > before:
            raise asyncio.CancelledError

    def _closed(self) -> UnavailableError:
        return UnavailableError(f"the connection to {self.address} was closed")

    def _open(self) -> grpc.aio.Channel:
        if self._is_closed:
            raise self._closed()
        if self._channel is None:
            self._channel = self._create()
        return self._channel

    def _create(self) -> grpc.aio.Channel:
        settings = [
            *options(self._limits),
            # A connection of its own: one that is shared would lead a moving agent back to the server that it leaves.
            ("grpc.use_local_subchannel_pool", 1),
            ("grpc.enable_retries", 0),
            # We back off ourselves; the core must not hold a longer grudge against an address.
            ("grpc.initial_reconnect_backoff_ms", 100),
            ("grpc.max_reconnect_backoff_ms", 1000),
            # In spite of its name: how long a connection may take to come about, on a long line or a busy machine.
            ("grpc.min_reconnect_backoff_ms", 10_000),
            ("grpc.enable_http_proxy", int(self._proxy is not None)),
        ]
        if self._proxy is not None:
            settings.append(("grpc.http_proxy", self._proxy.url))
        if self._tls is None:
            return grpc.aio.insecure_channel(self._where, options=settings)
        if self._tls.server_name:
            settings.append(("grpc.ssl_target_name_override", self._tls.server_name))
        return grpc.aio.secure_channel(self._where, self._tls.credentials(), options=settings)
