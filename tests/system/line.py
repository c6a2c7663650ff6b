"""A network line between an agent and its control plane that can be cut, for tests that are no coroutines."""

from __future__ import annotations

import asyncio
import threading
from types import TracebackType
from typing import Self

from headrace.testing import SeverableProxy


class Line:
    """A `SeverableProxy` in a thread of its own; a context manager."""

    def __init__(self, target: str) -> None:
        self._proxy = SeverableProxy(target)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxy", daemon=True)

    @property
    def address(self) -> str:
        return self._proxy.address

    @property
    def accepted(self) -> int:
        return self._proxy.accepted

    def sever(self) -> None:
        self._loop.call_soon_threadsafe(self._proxy.sever)

    def stall(self) -> None:
        self._loop.call_soon_threadsafe(self._proxy.stall)

    def mend(self) -> None:
        self._loop.call_soon_threadsafe(self._proxy.mend)

    def retarget(self, target: str) -> None:
        self._loop.call_soon_threadsafe(self._proxy.retarget, target)

    def __enter__(self) -> Self:
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._proxy.__aenter__(), self._loop).result(10)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        asyncio.run_coroutine_threadsafe(self._proxy.__aexit__(kind, error, trace), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
