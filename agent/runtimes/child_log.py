"""The log that an engine writes by itself, straight into a file, and so goes on writing when the agent is gone.

The file is opened for appending, so it can be cut short under the writer: copied to one older file, then truncated.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

MAX_READ = 1 << 20
_FRESH = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC


def open_for(path: Path) -> int:
    """A descriptor for a child's output; the caller closes it."""
    return os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)


def size(path: Path) -> int:
    """Where the next line will be; 0 when there is no log."""
    try:
        return path.stat().st_size
    except OSError:
        return 0


def since(path: Path, offset: int) -> str:
    """What was written since; of much, the last part. A log that was cut short meanwhile counts from its start."""
    try:
        with path.open("rb") as file:
            end = file.seek(0, os.SEEK_END)
            start = offset if offset <= end else 0
            file.seek(max(start, end - MAX_READ))
            return file.read(MAX_READ).decode(errors="replace")
    except OSError:
        return ""


def tail(path: Path, lines: int) -> str:
    """The last lines, from the older file too where the newer one has too few."""
    text = since(path, 0)
    if text.count("\n") < lines:
        text = since(older(path), 0) + text
    return "\n".join(text.splitlines()[-lines:]) + "\n" if lines > 0 and text else ""


def trim(path: Path, bound: int) -> None:
    """Cut a log that is longer than `bound` bytes; at most two such files are ever kept."""
    if size(path) > bound:
        # Private from its making, as the log itself is: a secret may have been written there.
        with path.open("rb") as source, os.fdopen(os.open(older(path), _FRESH, 0o600), "wb") as copy:
            os.fchmod(copy.fileno(), 0o600)
            shutil.copyfileobj(source, copy)
        os.truncate(path, 0)


def older(path: Path) -> Path:
    """Where the older part lies."""
    return path.with_name(f"{path.name}.1")
