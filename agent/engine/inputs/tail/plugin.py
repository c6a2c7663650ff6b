"""The tail input: finds files, follows them, hands their lines over, and knows when a rotated file is done.

One task reads all files in turn, a window at a time. A file's position moves in the same turn in which its lines are
handed over, and is committed when they are delivered, so that neither a crash loses lines nor a reload doubles them.
"""

import glob
import os
import time
from fnmatch import fnmatch
from pathlib import Path

from agent.engine.config import InvalidProperty
from agent.engine.inputs.tail.config import REFUSED, TailConfig
from agent.engine.inputs.tail.files import FollowedFile, LongLine
from agent.engine.inputs.tail.positions import Positions
from agent.engine.inputs.tail.records import Recorder
from agent.engine.inputs.tail.tags import tag_maker
from agent.engine.inputs.tail.watch import EVERYTHING, Watch, make_watch
from agent.engine.plugin import Context, Inlet
from agent.engine.record import Batch
from agent.engine.regex import compile_regex
from agent.engine.registry import inputs


@inputs.register("tail", TailConfig, refused=REFUSED)
class Tail:
    """Follows log files."""

    def __init__(self, config: TailConfig, context: Context) -> None:
        if not config.path:
            raise InvalidProperty("path", "no file is named")
        if config.refresh_interval <= 0 or config.progress_check_interval <= 0:
            name = "refresh_interval" if config.refresh_interval <= 0 else "progress_check_interval"
            raise InvalidProperty(name, "expected more than 0 seconds")
        try:
            tag_regex = compile_regex(config.tag_regex) if config.tag_regex else None
        except ValueError as error:
            raise InvalidProperty("tag_regex", str(error)) from None
        self._config = config
        self._context = context
        if config.parser and config.multiline_parser:
            raise InvalidProperty("parser", "cannot be used together with multiline.parser")
        self._recorder = Recorder(config, context)
        self._tag = tag_maker(context.tag, tag_regex)
        self._files: dict[int, FollowedFile] = {}
        self._given_up: set[int] = set()
        self._looks = 0
        self._watch: Watch | None = None
        self._positions: Positions | None = None
        self._key = ("tail", os.path.abspath(config.db)) if config.db else ("tail in memory", context.name)

    async def open(self) -> None:
        config = self._config
        self._positions = self._context.resources.acquire(
            self._key,
            lambda: Positions(
                Path(config.db) if config.db else None,
                sync=config.database.sync,
                journal_mode=config.database.journal_mode,
                locking=config.database.locking,
                by_name=config.db_compare_filename,
            ),
        )

    async def run(self, inlet: Inlet) -> None:
        self._watch = make_watch(self._config.inotify_watcher)
        self._find_files(first=True)
        self._find_rotated()
        ready = set(self._files)
        next_look = time.monotonic() + self._config.refresh_interval
        while True:
            for key in list(ready):
                if not await self._read(self._files[key], inlet):
                    ready.discard(key)
            await self._flush_messages(inlet)
            self._end_rotated(ready)
            if ready:
                continue
            if self._config.exit_on_eof and all(file.at_end for file in self._files.values()):
                await self._flush_messages(inlet, at_once=True)
                self._context.stop(f"{self._context.name} has read all files to their end")
                return
            changed = await self._watch.wait(self._patience(next_look))
            if EVERYTHING in changed or time.monotonic() >= next_look:
                self._find_files()
                next_look = time.monotonic() + self._config.refresh_interval
            ready = {key for key in (changed or self._files) if key in self._files} or set(self._files)
            for key in ready:
                self._notice_rotation(self._files[key])

    async def close(self) -> None:
        for file in list(self._files.values()):
            self._drop(file)
        if self._watch is not None:
            self._watch.close()
            self._watch = None
        if self._positions is not None:
            self._positions = None
            self._context.resources.release(self._key)

    async def _read(self, file: FollowedFile, inlet: Inlet) -> bool:
        """Hand over the next lines of a file; whether there may be more."""
        if file.notice_truncation():
            file.messages = self._recorder.assembler()
            self._context.log.info("%s was truncated; reading from its beginning", file.name)
        try:
            lines = file.read(skip_long=self._config.skip_long_lines or self._config.truncate_long_lines)
        except LongLine:
            lines = None
            self._give_up(file)
        if lines is None:
            return False
        batch, end = self._recorder.make(file, lines)
        await self._hand_over(file, batch, end, inlet)
        if end < lines.end:
            self._give_up(file)
            return False
        return True

    async def _hand_over(self, file: FollowedFile, batch: Batch, end: int, inlet: Inlet) -> None:
        """Push records and move the file's position in the same turn."""
        confirm = file.track.advance(end, file.messages.pending_mark if file.messages else None)
        durable = self._positions is not None and self._positions.durable
        if batch.records and durable:
            await inlet.push(batch, confirm)
            return
        confirm()  # without a database there is nothing to go on from: the engine must not count on reading again
        if batch.records:
            await inlet.push(batch)

    async def _flush_messages(self, inlet: Inlet, *, at_once: bool = False) -> None:
        """Take messages as complete that nothing was added to for their time-out."""
        now = time.monotonic()
        for file in list(self._files.values()):
            if file.messages is None or file.flush_at is None or (file.flush_at > now and not at_once):
                continue
            file.flush_at = None
            await self._hand_over(file, self._recorder.flush(file), file.track.read, inlet)

    def _find_files(self, *, first: bool = False) -> None:
        """Follow every file that the patterns match and that is not followed yet."""
        self._looks += 1
        for pattern in self._config.path:
            if self._watch is not None and not glob.has_magic(folder := os.path.dirname(pattern) or "."):
                self._watch.add_folder(folder)
        for name in self._matching():
            self._follow(name, first=first)

    def _matching(self) -> list[str]:
        """The files that the patterns match now."""
        names = [name for pattern in self._config.path for name in sorted(glob.glob(pattern))]
        return [name for name in names if not any(fnmatch(name, excluded) for excluded in self._config.exclude_path)]

    def _find_rotated(self) -> None:
        """Follow files to their end that the database knows and that were rotated away while nobody was looking."""
        assert self._positions is not None
        for name, inode in self._positions.rows():
            if inode in self._files or not any(fnmatch(name, pattern) for pattern in self._config.path):
                continue
            if _inode(name) == inode:
                continue  # it is where it was, and left out by another rule
            try:
                entries = [entry.path for entry in os.scandir(os.path.dirname(name) or ".") if entry.inode() == inode]
            except OSError:
                continue  # a folder that cannot be read now may be back later
            track = self._positions.known(inode, name)
            if entries:
                self._follow(entries[0], first=True, original=name)
            elif track is not None:
                self._positions.forget(track)

    def _follow(self, name: str, *, first: bool, original: str | None = None) -> None:
        assert self._positions is not None
        config = self._config
        try:
            status = os.stat(name)
            if not os.path.isfile(name) or status.st_ino in self._files or status.st_ino in self._given_up:
                return
            if config.ignore_older and time.time() - status.st_mtime > config.ignore_older:
                return
            tag = self._tag(original or name)
            if tag is None:
                self._context.log.error("tag_regex does not match the file name %s; it is left out", name)
                self._given_up.add(status.st_ino)
                return
            fd = os.open(name, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            self._context.log.error("cannot open %s: %s", name, error.strerror or error)
            return
        inode = os.fstat(fd).st_ino
        track = self._positions.known(inode, name)
        if track is None:
            from_head = config.read_from_head or (not first and config.read_newly_discovered_files_from_head)
            track = self._positions.start(inode, name, 0 if from_head else _last_line_end(fd))
        file = FollowedFile(original or name, fd, track, tag, config.buffer_max_size)
        file.messages = self._recorder.assembler()
        self._files[inode] = file
        self._context.log.info("%s: following from byte %d (inode %d)", name, track.read, inode)
        if self._watch is not None:
            try:
                self._watch.add_file(inode, fd)
            except OSError as error:
                self._context.log.warning(
                    "%s cannot be watched (%s); looking at it instead", name, error.strerror or error
                )
        if original is not None:
            file.rotated_at = time.monotonic()

    def _notice_rotation(self, file: FollowedFile) -> None:
        assert self._positions is not None
        if file.rotated_at is not None:
            return
        moved_to = file.moved_to()
        if moved_to is None:
            return
        matching = next((name for name in self._matching() if _inode(name) == file.track.inode), None)
        self._positions.rotated(file.track, matching or moved_to)
        self._context.log.info("%s was rotated away to %s", file.name, matching or moved_to)
        if matching is None:
            file.rotated_at = time.monotonic()
        else:
            file.name = matching  # the patterns take the new name, too: it is followed as before
        self._find_files()

    def _end_rotated(self, ready: set[int]) -> None:
        """Let go of rotated files that are read to their end and whose time is over."""
        assert self._positions is not None
        for inode, file in list(self._files.items()):
            if file.rotated_at is None or inode in ready:
                continue
            over = time.monotonic() - file.rotated_at >= self._config.rotate_wait
            if over and file.at_end and file.track.settled and file.flush_at is None:
                self._drop(file)
                self._positions.forget(file.track)

    def _give_up(self, file: FollowedFile) -> None:
        self._context.log.error(
            "%s has a line longer than buffer_max_size (%d bytes) and is given up; raise it, or set skip_long_lines",
            file.name,
            self._config.buffer_max_size,
        )
        self._given_up.add(file.track.inode)
        self._drop(file)

    def _drop(self, file: FollowedFile) -> None:
        if self._watch is not None:
            self._watch.remove_file(file.track.inode)
        if file.messages is not None:
            file.track.rewind()
        file.close()
        del self._files[file.track.inode]

    def _patience(self, next_look: float) -> float:
        ends = [f.rotated_at + self._config.rotate_wait for f in self._files.values() if f.rotated_at is not None]
        ends += [f.flush_at for f in self._files.values() if f.flush_at is not None]
        now = time.monotonic()
        return max(0.05, min([next_look - now, self._config.progress_check_interval, *(end - now for end in ends)]))


def _inode(name: str) -> int | None:
    try:
        return os.stat(name).st_ino
    except OSError:
        return None


def _last_line_end(fd: int) -> int:
    """Where the last whole line ends, so that a line which is being written is taken whole."""
    size = os.fstat(fd).st_size
    start = max(0, size - 65536)
    end = os.pread(fd, size - start, start).rfind(b"\n")
    return start + end + 1 if end >= 0 else (0 if start == 0 else size)
