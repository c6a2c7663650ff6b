"""A TCP proxy on loopback that keeps every byte of both directions: what somebody on the way could read."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from headrace.security import parse_address


class Recorder:
    """Connect to `address`; it works in threads, for tests that block."""

    def __init__(self, target: str) -> None:
        self._target = parse_address(target)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._lock = threading.Lock()
        self._streams: list[bytearray] = []
        self._sockets: list[socket.socket] = [self._listener]
        self._threads: list[threading.Thread] = []
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"

    @property
    def streams(self) -> list[bytes]:
        """Of each connection, what went there, and what came back."""
        with self._lock:
            return [bytes(stream) for stream in self._streams]

    @contextmanager
    def recording(self) -> Iterator[Recorder]:
        self._start(self._accept)
        try:
            yield self
        finally:
            with self._lock:
                for each in self._sockets:
                    with contextlib.suppress(OSError):
                        each.shutdown(socket.SHUT_RDWR)
            for thread in self._threads:
                thread.join()
            for each in self._sockets:
                each.close()

    def _start(self, work: object, *arguments: object) -> None:
        thread = threading.Thread(target=work, args=arguments, name="recorder")  # type: ignore[arg-type]
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
                far = socket.create_connection((self._target.host, self._target.port))
            except OSError:
                return
            with self._lock:
                self._sockets += [near, far]
            for source, sink in ((near, far), (far, near)):
                stream = bytearray()
                with self._lock:
                    self._streams.append(stream)
                self._start(self._copy, source, sink, stream)

    def _copy(self, source: socket.socket, sink: socket.socket, stream: bytearray) -> None:
        try:
            while data := source.recv(1 << 16):
                with self._lock:
                    stream += data
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)
        except OSError:
            for each in (source, sink):
                with contextlib.suppress(OSError):
                    each.shutdown(socket.SHUT_RDWR)
