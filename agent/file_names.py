"""What the files of a pipeline may be called: nothing that leaves the folder, or that the agent uses itself. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from agent.runtimes.render import NAMES
from headrace.api import File
from headrace.types import Fault

RESERVED = frozenset({"data", "rev", "current", "engine.log", "engine.log.1", "engine.lock", *NAMES.values()})
_LONGEST_PART = 255


def name_faults(files: Iterable[File]) -> tuple[Fault, ...]:
    """What is wrong with the names of a pipeline's files."""
    names = [file.name for file in files]
    faults = [Fault(message=f"file {name!r} {reason}", file=name) for name in names if (reason := _objection(name))]
    folders = {"/".join(name.split("/")[:depth]) for name in names for depth in range(1, name.count("/") + 1)}
    faults += [
        Fault(message=f"file {name!r} is also the folder of another file", file=name)
        for name in names
        if name in folders
    ]
    return tuple(faults)


def _objection(name: str) -> str:
    parts = name.split("/")
    if any(ord(character) < 32 or ord(character) == 127 for character in name) or "\\" in name:
        return "has a character that file names may not have"
    if any(part in ("", ".", "..") for part in parts):
        return "must be a relative path inside the pipeline's folder"
    if any(len(part.encode()) > _LONGEST_PART for part in parts):
        return f"has a part that is longer than {_LONGEST_PART} bytes"
    if parts[0] in RESERVED or parts[0].startswith("."):
        return "has a name that the agent uses itself; choose another one"
    return ""
