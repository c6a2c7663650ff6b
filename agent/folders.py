"""A workload's folder: where its engine works, what each content put there, and what may be deleted.

    workloads/<pipeline>/        the engine's working folder, the same for every content
      data/                      offsets and chunks; belongs to no content
      rev/<sha256>/              one content: its files, and the rendered configuration beside them
      current -> rev/<sha256>    switched by one atomic rename
      parsers.conf -> current/…  a shipped file, where a relative path finds it
      trial/                     what is started to try a content, while that lasts
      engine.log, engine.lock

File names come from the wire; none of them leaves the folder or takes a name that the agent uses itself. Everything
can be made again from the agent's state, so nothing here is flushed to the disk. Raises OSError where the disk does.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Set
from dataclasses import dataclass
from pathlib import Path

from agent.runtimes.render import NAMES
from headrace.types import File


@dataclass(frozen=True, slots=True)
class Backlog:
    """What an engine left on disk that no output took."""

    chunks: int
    size: int


@dataclass(frozen=True, slots=True)
class Folder:
    """One workload's folder; whoever holds this object is the only one to change it."""

    path: Path

    @property
    def data(self) -> Path:
        return self.path / "data"

    @property
    def trial(self) -> Path:
        return self.path / "trial"

    @property
    def log(self) -> Path:
        return self.path / "engine.log"

    @property
    def lock(self) -> Path:
        return self.path / "engine.lock"

    def revision(self, sha256: str) -> Path:
        """Where one content lies."""
        return self.path / "rev" / sha256

    def current(self, name: str) -> Path:
        """Where an engine finds its configuration, whichever content is current."""
        return self.path / "current" / name

    def write(self, sha256: str, files: Iterable[File], *, name: str, text: str) -> Path:
        """Put a content's files and its configuration, called `name`, in place; answers where that is."""
        self.data.mkdir(mode=0o700, parents=True, exist_ok=True)
        revision = self.revision(sha256)
        revision.mkdir(mode=0o700, parents=True, exist_ok=True)
        for file in files:
            _write(revision / file.name, file.content)
        config = revision / name
        _write(config, text.encode())
        return config

    def switch(self, sha256: str) -> str | None:
        """Make a content current; answers which one was. Raises FileExistsError where a file of it is in the way."""
        before = self.current_sha256()
        names = {path.name for path in self.revision(sha256).iterdir()} - set(NAMES.values())
        for name in names:
            self._link(name)
        if before != sha256:
            aside = self.path / ".current"
            aside.unlink(missing_ok=True)
            aside.symlink_to(Path("rev") / sha256)
            os.replace(aside, self.path / "current")
        for path in self.path.iterdir():
            if path.is_symlink() and path.name not in names and path.name != "current":
                path.unlink()
        return before

    def current_sha256(self) -> str | None:
        """Which content is current."""
        try:
            return os.readlink(self.path / "current").rpartition("/")[2]
        except OSError:
            return None

    def collect(self, kept: Set[str]) -> None:
        """Delete every content but these and the current one."""
        revisions = self.path / "rev"
        if not revisions.is_dir():
            return
        for path in revisions.iterdir():
            if path.name not in kept and path.name != self.current_sha256():
                shutil.rmtree(path, ignore_errors=True)

    def clear(self) -> None:
        """Delete everything but the data, for a pipeline that was removed."""
        if not self.path.is_dir():
            return
        for path in self.path.iterdir():
            if path.is_symlink() or path.is_file():
                path.unlink(missing_ok=True)
            elif path != self.data:
                shutil.rmtree(path, ignore_errors=True)

    def purge(self) -> None:
        """Delete the folder with its data."""
        shutil.rmtree(self.path, ignore_errors=True)

    def backlog(self) -> Backlog:
        """Chunks that wait on disk."""
        sizes = [path.stat().st_size for path in self.data.rglob("*.flb")] if self.data.is_dir() else []
        return Backlog(len(sizes), sum(sizes))

    def _link(self, name: str) -> None:
        link, target = self.path / name, Path("current") / name
        if link.is_symlink():
            return
        if link.exists():
            raise FileExistsError(f"file {name!r} of the pipeline is in the way of one that its engine wrote: {link}")
        link.symlink_to(target)


def _write(path: Path, data: bytes) -> None:
    """Whole or not at all, also for an engine that reads it at this moment.

    What is there already is left alone: an engine that died comes back on a full disk, too.
    """
    if path.is_file() and path.read_bytes() == data:
        return
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.new")
    try:
        aside.write_bytes(data)
        os.replace(aside, path)
    except BaseException:
        aside.unlink(missing_ok=True)
        raise
