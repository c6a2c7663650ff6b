"""Being told that files changed: inotify where the kernel has it, else looking at them four times a second.

Both answer the same question, `wait`: which of the watched files may have changed. Owned by one input; not shared.
"""

import asyncio
import ctypes
import errno
import os
import struct
from typing import Protocol

_MODIFY, _ATTRIB, _MOVED_TO, _CREATE, _DELETE_SELF, _MOVE_SELF = 0x2, 0x4, 0x80, 0x100, 0x400, 0x800
_OVERFLOW, _IGNORED = 0x4000, 0x8000
_FILE = _MODIFY | _ATTRIB | _MOVE_SELF | _DELETE_SELF
_FOLDER = _CREATE | _MOVED_TO
_EVENT = struct.Struct("iIII")

POLL_SECONDS = 0.25


class Watch(Protocol):
    """`wait` returns the keys of changed files; the key EVERYTHING stands for all files and new ones."""

    def add_file(self, key: int, fd: int) -> None:
        """Watch an open file."""

    def remove_file(self, key: int) -> None:
        """Watch it no more; it must still be open."""

    def add_folder(self, path: str) -> None:
        """Watch for new names in a folder; one that cannot be watched is left to the next look round."""

    async def wait(self, seconds: float) -> set[int]:
        """Keys of files that may have changed; empty when nothing did for so long."""

    def close(self) -> None:
        """Release what it holds."""


EVERYTHING = -1


class Polling:
    """Says after a short while that everything may have changed."""

    def add_file(self, key: int, fd: int) -> None:
        pass

    def remove_file(self, key: int) -> None:
        pass

    def add_folder(self, path: str) -> None:
        pass

    async def wait(self, seconds: float) -> set[int]:
        await asyncio.sleep(min(seconds, POLL_SECONDS))
        return {EVERYTHING}

    def close(self) -> None:
        pass


class Inotify:
    """Linux's own way. Raises OSError where it is missing or its limits are reached."""

    def __init__(self) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)
        if not hasattr(self._libc, "inotify_init1"):
            raise OSError(errno.ENOSYS, "no inotify")
        self._fd = self._libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        if self._fd < 0:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
        self._keys: dict[int, int] = {}
        self._descriptors: dict[int, int] = {}
        self._folders: dict[str, int] = {}
        self._changed: set[int] = set()
        self._event = asyncio.Event()
        asyncio.get_running_loop().add_reader(self._fd, self._read)

    def add_file(self, key: int, fd: int) -> None:
        descriptor = self._add(f"/proc/self/fd/{fd}", _FILE)
        self._keys[descriptor] = key
        self._descriptors[key] = descriptor

    def remove_file(self, key: int) -> None:
        descriptor = self._descriptors.pop(key, None)
        if descriptor is not None and self._keys.pop(descriptor, None) is not None:
            self._libc.inotify_rm_watch(self._fd, descriptor)

    def add_folder(self, path: str) -> None:
        if path not in self._folders:
            try:
                self._folders[path] = self._add(path, _FOLDER)
            except OSError:
                return

    async def wait(self, seconds: float) -> set[int]:
        try:
            async with asyncio.timeout(seconds):
                await self._event.wait()
        except TimeoutError:
            return set()
        self._event.clear()
        changed, self._changed = self._changed, set()
        return changed

    def close(self) -> None:
        asyncio.get_running_loop().remove_reader(self._fd)
        os.close(self._fd)

    def _add(self, path: str, mask: int) -> int:
        descriptor: int = self._libc.inotify_add_watch(self._fd, os.fsencode(path), mask)
        if descriptor < 0:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), path)
        return descriptor

    def _read(self) -> None:
        try:
            data = os.read(self._fd, 65536)
        except BlockingIOError:
            return
        at = 0
        while at < len(data):
            descriptor, mask, _, length = _EVENT.unpack_from(data, at)
            at += _EVENT.size + length
            if mask & _IGNORED:
                key = self._keys.pop(descriptor, None)
                if key is not None:
                    self._descriptors.pop(key, None)
                for path in [path for path, folder in self._folders.items() if folder == descriptor]:
                    del self._folders[path]
            elif mask & (_FOLDER | _OVERFLOW) and not mask & _FILE:
                self._changed.add(EVERYTHING)
            elif descriptor in self._keys:
                self._changed.add(self._keys[descriptor])
        if self._changed:
            self._event.set()


def make_watch(inotify: bool) -> Watch:
    """The best watch there is."""
    if inotify:
        try:
            return Inotify()
        except OSError:
            pass
    return Polling()
