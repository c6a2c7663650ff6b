"""Chunks on disk: what must outlive the process, one file per chunk under `storage.path`.

A file is lines of JSON: a header `{"tag": …, "signal": …}`, then one line per appended batch, then `{"done": "output"}`
for each output that took the chunk. A last line that a crash cut short was never acknowledged and is dropped on
loading. Only the file's own lines count: no index, nothing to repair. The format is this engine's own; files of other
names in the folder are left alone.
"""

import os
from collections.abc import Iterator
from pathlib import Path

import orjson

from agent.engine.record import Batch

SUFFIX = ".jsonl"


class ChunkFile:
    """One chunk on disk. All methods raise OSError when the disk does; an append that raised has kept nothing."""

    def __init__(self, path: Path, *, sync: bool = False) -> None:
        self.path = path
        self._sync = sync

    def create(self, batch: Batch) -> None:
        """Start the file with a chunk's first records."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._write({"tag": batch.tag, "signal": batch.signal}, _entry(batch))

    def append(self, batch: Batch) -> None:
        """Keep more records; they are safe from a crash of the process when this returns."""
        self._write(_entry(batch))

    def mark_done(self, output: str) -> None:
        """Remember that this output needs the chunk no more."""
        self._write({"done": output})

    def load(self) -> tuple[Batch, set[str]]:
        """The chunk's records and the outputs that have them. Raises ValueError when it is no chunk."""
        done: set[str] = set()
        batch: Batch | None = None
        for line in self.path.read_bytes().split(b"\n")[:-1]:
            entry = orjson.loads(line)
            if batch is None:
                batch = Batch(entry["tag"], signal=entry.get("signal", "logs"))
            elif isinstance(entry, dict):
                done.add(entry["done"])
            else:
                batch.extend(Batch(batch.tag, *entry))
        if batch is None:
            raise ValueError("it has no header")
        return batch, done

    def size(self) -> int:
        """Bytes on disk; 0 where it is not there."""
        try:
            return self.path.stat().st_size
        except OSError:
            return 0

    def remove(self) -> None:
        """The chunk is settled."""
        self.path.unlink(missing_ok=True)

    def _write(self, *entries: object) -> None:
        data = b"".join(orjson.dumps(entry) + b"\n" for entry in entries)
        with open(self.path, "ab") as file:
            before = file.tell()
            try:
                file.write(data)
                file.flush()
                if self._sync:
                    os.fsync(file.fileno())
            except OSError:
                os.truncate(self.path, before)
                raise


def _entry(batch: Batch) -> object:
    return [batch.times, batch.records, batch.metadata, batch.size]


class ChunkStore:
    """The folder of chunks; ids grow, so that order survives a restart."""

    def __init__(self, path: Path, *, sync: bool = False) -> None:
        self.path = path
        self._sync = sync

    def file(self, source: str, number: int) -> ChunkFile:
        """The file, not yet there, of a chunk of that input."""
        folder = source.replace("/", "_").replace("\x00", "_").lstrip(".") or "_"
        return ChunkFile(self.path / folder / f"{number:020d}{SUFFIX}", sync=self._sync)

    def backlog(self) -> Iterator[ChunkFile]:
        """What earlier runs left, oldest first."""
        for path in sorted(self.path.glob(f"*/*{SUFFIX}"), key=lambda path: path.name):
            yield ChunkFile(path, sync=self._sync)
