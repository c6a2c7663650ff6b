"""Sockets that inputs listen on: bound once, and kept over a reload that changes the input but not the address.

An instance takes over the socket of its predecessor by asking `Resources` for the same address, so that no connection
is refused and no datagram lost in between. Two instances of one configuration never ask for the same: the builder
refuses that (`Listens`). A socket in the file system is put where an earlier one was left, and removed at the end.
"""

import os
import socket
import stat
from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import Literal

from agent.engine.config import Kind as PropertyKind
from agent.engine.plugin import PluginError

Kind = Literal["stream", "datagram"]


def _permissions(text: str) -> int:
    if not text or set(text) - set("01234567") or len(text) > 4:
        raise ValueError(f"{text!r} is no permissions; use octal digits such as 0644")
    return int(text, 8)


PERMISSIONS = PropertyKind("string", _permissions)


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """Where to listen: a host and a port (0 is any that is free), or the path of a socket with its permissions."""

    kind: Kind
    host: str = ""
    port: int = 0
    path: str = ""
    mode: int = field(default=0o644, compare=False)

    def __str__(self) -> str:
        if self.path:
            return self.path
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"

    @property
    def scheme(self) -> str:
        """What the address of a peer starts with, as Fluent Bit writes it."""
        return "unix" if self.path else "tcp" if self.kind == "stream" else "udp"

    @property
    def claim(self) -> str | None:
        """What nobody else of the same configuration may listen on; None where any port will do."""
        return f"{self.scheme} {self}" if self.path or self.port else None

    def key(self, owner: object) -> Hashable:
        """Under which the socket is shared. One on any free port is its owner's alone."""
        return ("listen", self) if self.path or self.port else ("listen", self, id(owner))


class BoundSocket:
    """A listening (or, of datagrams, bound) socket. Raises PluginError, with address and reason, when it cannot be."""

    def __init__(self, address: Address, *, backlog: int = 128) -> None:
        self._address = address
        self._inode = 0
        try:
            self.socket = self._at_path() if address.path else self._at_port()
        except OSError as error:
            raise _refusal(address, error) from error
        try:
            if address.kind == "stream":
                self.socket.listen(backlog)
            self.socket.setblocking(False)
        except OSError as error:
            self.close()
            raise _refusal(address, error) from error

    @property
    def port(self) -> int:
        """The bound port; 0 in the file system."""
        return 0 if self._address.path else int(self.socket.getsockname()[1])

    def tune(self, *, mode: int, receive_buffer: int) -> None:
        """Set what may differ from one owner to the next. Raises PluginError."""
        try:
            if self._address.path:
                os.chmod(self._address.path, mode)
            if receive_buffer:
                self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        except OSError as error:
            raise _refusal(self._address, error) from error

    def close(self) -> None:
        self.socket.close()
        path = self._address.path
        try:
            if path and os.stat(path).st_ino == self._inode:  # else somebody else's by now
                os.unlink(path)
        except OSError:
            pass

    @property
    def _type(self) -> socket.SocketKind:
        return socket.SOCK_STREAM if self._address.kind == "stream" else socket.SOCK_DGRAM

    def _at_port(self) -> socket.socket:
        address = self._address
        found = socket.getaddrinfo(address.host.strip("[]"), address.port, type=self._type, flags=socket.AI_PASSIVE)
        family, _, _, _, where = found[0]
        bound = socket.socket(family, self._type)
        try:
            if address.kind == "stream":
                bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            bound.bind(where)
        except OSError:
            bound.close()
            raise
        return bound

    def _at_path(self) -> socket.socket:
        address = self._address
        bound = socket.socket(socket.AF_UNIX, self._type)
        try:
            self._clear(address.path)
            bound.bind(address.path)
            self._inode = os.stat(address.path).st_ino
        except OSError:
            bound.close()
            raise
        return bound

    def _clear(self, path: str) -> None:
        """Remove a socket that nobody listens on any more. Raises OSError for one in use, and for what is no socket."""
        try:
            if not stat.S_ISSOCK(os.stat(path).st_mode):
                raise OSError("the path exists and is no socket")
        except FileNotFoundError:
            return
        with socket.socket(socket.AF_UNIX, self._type) as probe:
            try:
                probe.connect(path)
            except OSError:
                os.unlink(path)
                return
        raise OSError("another process listens on it")


def _refusal(address: Address, error: OSError) -> PluginError:
    return PluginError(f"cannot listen on {address} ({address.scheme}): {error.strerror or error}")
