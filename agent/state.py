"""The agent's state on disk: identity, plane, one record per workload, and contents by their hash.

    identity.json            who we are; readable by its owner only
    identity.next.json       what is to take its place, until it has
    plane.json               the instance and epoch last seen, labels and variables
    records/<pipeline>.json  what is desired, tried, running and good
    blobs/<sha256>           canonical content
    secrets.json             see `agent.secrets`

Each file is replaced atomically (write aside, flush to the disk, rename), so a reader finds the old or the new one,
whatever happens in between; after a power cut it may be the old one, and the control plane says again what is missing.
Memory comes first: what cannot be written is kept there, `trouble` says why, and `flush` tries again; an agent with a
full disk goes on. Called from the event loop only, and blocks it for a small write.
"""

from __future__ import annotations

import fcntl
import json
import os
import tempfile
from pathlib import Path
from typing import Any

import structlog

from agent.errors import AgentError
from agent.model import Identity, Plane, Record
from agent.records import dump, load
from agent.secrets import Secrets
from headrace.content import secret_names, sha256_of
from headrace.errors import HeadraceError

log = structlog.get_logger(__name__)

VERSION = 1


class StateError(AgentError):
    """The state cannot be used; nothing was changed."""

    code = "conflict"


class State:
    """What the agent knows, in memory and on disk."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.trouble = ""
        """Why the disk is behind the memory; empty when it is not."""
        self.identity: Identity | None = None
        self.next_identity: Identity | None = None
        """Of the same agent; see `agent.rotation`."""
        self.plane = Plane()
        self.records: dict[str, Record] = {}
        self.secrets = Secrets(folder, self._put_or_remove)
        self._unwritten: dict[Path, bytes] = {}
        self._lock: int | None = None

    def open(self) -> None:
        """Lock the folder for this process and read what is there. Raises StateError."""
        try:
            for part in ("", "records", "blobs"):
                (self.folder / part).mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise StateError(f"data folder {self.folder}: {error.strerror}; name another one by --data-dir") from error
        self._lock = _lock(self.folder / "agent.lock")
        self.identity = self._read(self.folder / "identity.json", Identity)
        self.next_identity = self._read(self.folder / "identity.next.json", Identity)
        if self.next_identity is not None and (self.identity is None or self.next_identity == self.identity):
            self.save_next(None)  # it took over, and the end of that was cut short
        self.plane = self._read(self.folder / "plane.json", Plane) or Plane()
        for path in sorted((self.folder / "records").glob("*.json")):
            if record := self._read(path, Record):
                self.records[record.pipeline] = record
        self.secrets.open()

    def close(self) -> None:
        """Write what is left, and let another process have the folder."""
        self.flush()
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def save_identity(self, identity: Identity | None) -> None:
        """Keep who we are; None forgets it, which only a refused identity deserves."""
        self.identity = identity
        self._keep(self.folder / "identity.json", identity)

    def save_next(self, identity: Identity | None) -> None:
        """Keep what is to take its place; None forgets it."""
        self.next_identity = identity
        self._keep(self.folder / "identity.next.json", identity)

    def save_plane(self, plane: Plane) -> None:
        """Keep what the control plane said of the agent as a whole."""
        if plane != self.plane:
            self.plane = plane
            self._write(self.folder / "plane.json", plane)

    def save(self, record: Record) -> None:
        """Keep a workload's record."""
        if self.records.get(record.pipeline) != record:
            self.records[record.pipeline] = record
            self._write(self._record_path(record.pipeline), record)

    def forget(self, pipeline: str) -> None:
        """Drop a workload's record, and the contents that nobody needs any more."""
        self.records.pop(pipeline, None)
        path = self._record_path(pipeline)
        self._unwritten.pop(path, None)
        path.unlink(missing_ok=True)
        self.collect()

    def blob(self, sha256: str) -> bytes | None:
        """A content by its hash; None when it is not there, or not what its name says."""
        path = self.folder / "blobs" / sha256
        if path in self._unwritten:
            return self._unwritten[path]
        try:
            data = path.read_bytes()
        except OSError:
            return None
        return data if sha256_of(data) == sha256 else None

    def save_blob(self, sha256: str, data: bytes) -> None:
        """Keep a content."""
        if self.blob(sha256) is None:
            self._put(self.folder / "blobs" / sha256, data)

    def collect(self) -> None:
        """Delete the contents that no record names, and the secrets that no content names."""
        kept = frozenset[str]().union(*(record.kept for record in self.records.values()))
        if self.secrets.held:
            self.secrets.keep(frozenset[str]().union(*map(self._secrets_of, kept)))
        blobs = self.folder / "blobs"
        for path in [*blobs.iterdir(), *(path for path in self._unwritten if path.parent == blobs)]:
            if path.name not in kept:
                self._unwritten.pop(path, None)
                path.unlink(missing_ok=True)

    def flush(self) -> None:
        """Try again to write what could not be written; `trouble` says how it went."""
        waiting, self._unwritten = self._unwritten, {}
        self.trouble = ""
        for path, data in waiting.items():
            self._replace(path, data)

    def _secrets_of(self, sha256: str) -> frozenset[str]:
        """What a content names; nothing while it is not here."""
        data = self.blob(sha256)
        try:
            return frozenset() if data is None else secret_names(data)
        except HeadraceError:
            return frozenset()

    def _keep(self, path: Path, identity: Identity | None) -> None:
        if identity is None:
            self._unwritten.pop(path, None)
            path.unlink(missing_ok=True)
        else:
            self._write(path, identity)

    def _record_path(self, pipeline: str) -> Path:
        return self.folder / "records" / f"{pipeline}.json"

    def _write(self, path: Path, value: Identity | Plane | Record) -> None:
        document = {"version": VERSION, "value": dump(value)}
        self._put(path, json.dumps(document, indent=1, sort_keys=True).encode())

    def _put(self, path: Path, data: bytes) -> None:
        """Write, and with it what waits, once the disk takes writes again."""
        if self._replace(path, data) and self.trouble:
            self.flush()

    def _put_or_remove(self, path: Path, data: bytes | None) -> None:
        if data is not None:
            self._put(path, data)
            return
        self._unwritten.pop(path, None)
        path.unlink(missing_ok=True)

    def _replace(self, path: Path, data: bytes) -> bool:
        try:
            replace_file(path, data)
        except OSError as error:
            if not self.trouble:
                log.error("state is not on disk", path=str(path), reason=error.strerror)
            self.trouble = f"the agent's state is not on disk: {path}: {error.strerror}; free some space"
            self._unwritten[path] = data
            return False
        self._unwritten.pop(path, None)
        return True

    def _read(self, path: Path, cls: type[Any]) -> Any:
        """The value in a file, None when there is none; what cannot be read is moved aside, never overwritten."""
        try:
            document = json.loads(path.read_bytes())
            version = document["version"]
        except FileNotFoundError:
            return None
        except (ValueError, KeyError, TypeError) as error:
            return self._set_aside(path, error)
        if version > VERSION:
            raise StateError(f"{path} is of version {version}, and this agent reads {VERSION}; upgrade the agent")
        try:
            return load(cls, document["value"])
        except (ValueError, KeyError, TypeError) as error:
            return self._set_aside(path, error)

    def _set_aside(self, path: Path, error: Exception) -> None:
        aside = path.with_suffix(".unreadable")
        log.error("state file cannot be read; moved aside", path=str(path), aside=str(aside), reason=repr(error))
        path.replace(aside)


def replace_file(path: Path, data: bytes) -> None:
    """Replace a file, or leave it as it was: no reader and no crash ever finds half of it. Raises OSError."""
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(name, path)
    except BaseException:
        os.unlink(name)
        raise


def _lock(path: Path) -> int:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        holder = os.read(descriptor, 32).decode(errors="replace").strip() or "another process"
        os.close(descriptor)
        raise StateError(
            f"data folder {path.parent} is in use by {holder}; stop that agent, or name another folder by --data-dir"
        ) from error
    os.truncate(descriptor, 0)
    os.write(descriptor, f"process {os.getpid()}".encode())
    return descriptor
