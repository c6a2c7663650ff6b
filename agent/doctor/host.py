"""What an agent needs of its own host: a data folder with room, and leave to read the logs."""

from __future__ import annotations

import glob
import json
import os
import shutil
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path

from agent.doctor.finding import Finding
from agent.model import Identity
from agent.records import load
from agent.runtimes.process import holders

_MIB = 1 << 20
_LEAST = 64 * _MIB
Access = Callable[[str, int], bool]


def of_data_folder(folder: Path, *, spool_bytes: int, now: datetime, access: Access = os.access) -> list[Finding]:
    """Rights, room, and who is there; a folder that is not there yet is judged by where it will be made."""
    place = folder
    while not place.exists() and place != place.parent:
        place = place.parent
    if not place.is_dir():
        return [Finding.fail("data", f"{place} is a file", "name another folder by --data-dir")]
    if not access(str(place), os.R_OK | os.W_OK | os.X_OK):
        advice = "run as the agent's user, or give the folder to it; is the file system read-only?"
        return [Finding.fail("data", f"{place} cannot be written to", advice)]
    known = f"{folder} can be written to" if place == folder else f"{folder} is not there yet and can be made"
    running = folder.is_dir() and bool(holders(folder / "agent.lock"))
    findings = [Finding.ok("data", known + (", and an agent runs there" if running else ""))]
    findings.append(_room(place, spool_bytes))
    identity = _identity(folder / "identity.json", now)
    return findings if identity is None else [*findings, identity]


def _room(place: Path, spool_bytes: int) -> Finding:
    free = shutil.disk_usage(place).free
    said = f"{free // _MIB} MiB are free"
    if free < _LEAST:
        return Finding.fail(
            "disk", said, f"an agent needs {_LEAST // _MIB} MiB at least; make room, or move --data-dir"
        )
    if free < _LEAST + spool_bytes:
        advice = f"metrics alone may take {spool_bytes // _MIB} MiB (--spool-size)"
        return Finding.warn("disk", said, advice)
    return Finding.ok("disk", said)


def _identity(path: Path, now: datetime) -> Finding | None:
    try:
        identity = load(Identity, json.loads(path.read_bytes())["value"])
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        return Finding.fail("identity", f"{path} cannot be read: {error}", "remove it, and enrol anew with a token")
    until = identity.certificate_until
    if until is not None and until <= now:
        advice = "it is renewed at the next connection, by its credential"
        return Finding.warn("identity", f"agent {identity.agent_id}, whose certificate expired at {until:%F}", advice)
    return Finding.ok("identity", f"agent {identity.agent_id}")


def of_log_paths(paths: Sequence[str], *, access: Access = os.access) -> list[Finding]:
    """Whether what a pipeline is to read can be read; a path may be a pattern, as an input's is."""
    return [_logs(path, access) for path in paths]


def _logs(path: str, access: Access) -> Finding:
    found = sorted(glob.glob(path))
    if not found:
        return Finding.warn("logs", f"{path}: nothing is there now", "is it mounted, and is the pattern right?")
    closed = [each for each in found if not access(each, os.R_OK | (os.X_OK if Path(each).is_dir() else 0))]
    if closed:
        more = f" and {len(closed) - 3} more" if len(closed) > 3 else ""
        advice = "run the agent as root, or put its user into the group that owns them (Debian: adm)"
        return Finding.fail("logs", f"{path}: no leave to read {', '.join(closed[:3])}{more}", advice)
    return Finding.ok("logs", f"{path}: {len(found)} can be read")
