"""One process per data folder: an advisory lock on `lock` in it, which ends with its process however that ends."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from headrace.errors import ConflictError, UnavailableError


@contextmanager
def folder_lock(folder: Path) -> Iterator[None]:
    """Holds the folder, which is made where it is missing. Raises ConflictError when another holder has it."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise UnavailableError(f"data folder {folder} cannot be used: {error.strerror}; choose another") from error
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(descriptor, 32, 0).decode(errors="replace").strip() or "unknown"
            raise ConflictError(
                f"data folder {folder} is in use by process {holder}; stop that one, or choose another folder"
            ) from None
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        # The file stays: whoever removed it could take away the lock of the next holder.
        yield
    finally:
        os.close(descriptor)
