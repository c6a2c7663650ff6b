"""One followed file: whole lines from where reading stands, truncation, rotation. Bytes only, and no waiting."""

import os
from dataclasses import dataclass

from agent.engine.inputs.tail.positions import Track
from agent.engine.multiline import Assembler

WINDOW = 262_144


@dataclass(frozen=True, slots=True)
class Lines:
    """Whole lines that start at `start` in the file and end before `end`; `data` has no final line break."""

    data: bytes
    start: int
    end: int


class LongLine(Exception):
    """A line does not fit into the limit."""


class FollowedFile:
    """An open file; `path` is the name it was found under, `name` its present one, `track` how far it was read.

    `messages` holds lines that wait for the rest of their message, until `flush_at`.
    """

    def __init__(self, name: str, fd: int, track: Track, tag: str, longest: int) -> None:
        self.path = name
        self.name = name
        self.fd = fd
        self.track = track
        self.tag = tag
        self.rotated_at: float | None = None
        self.messages: Assembler | None = None
        self.flush_at: float | None = None
        self._window = max(WINDOW, longest)
        self._longest = longest
        self._skipping = False

    @property
    def size(self) -> int:
        return os.fstat(self.fd).st_size

    @property
    def at_end(self) -> bool:
        """Whether nothing is left to read but perhaps the beginning of a line."""
        data = os.pread(self.fd, self._window, self.track.read)
        return b"\n" not in data and len(data) < self._window

    def notice_truncation(self) -> bool:
        """Start over if the file is shorter than what was read of it."""
        if self.size < self.track.read:
            self.track.restart()
            self._skipping = False
            return True
        return False

    def read(self, *, skip_long: bool) -> Lines | None:
        """The next whole lines, or None when there is none. Raises LongLine unless long lines are to be skipped.

        Does not move on: the caller advances the track to `end` when it has taken the lines.
        """
        while True:
            start = self.track.read
            data = os.pread(self.fd, self._window, start)
            if self._skipping:
                cut = data.find(b"\n")
                if cut < 0:
                    if data:
                        self.track.skip(start + len(data))
                        continue
                    return None
                self._skipping = False
                self.track.skip(start + cut + 1)
                continue
            end = data.rfind(b"\n")
            if end >= 0:
                return Lines(data[:end], start, start + end + 1)
            if len(data) < self._longest:
                return None
            if not skip_long:
                raise LongLine
            self._skipping = True

    def moved_to(self) -> str | None:
        """The file's present name if `name` is another file now or none; None while it is still this one."""
        try:
            if os.stat(self.name).st_ino == self.track.inode:
                return None
        except OSError:
            pass
        try:
            return os.readlink(f"/proc/self/fd/{self.fd}").removesuffix(" (deleted)")
        except OSError:
            return self.name

    def close(self) -> None:
        os.close(self.fd)
