"""What the files of a pipeline may be called: nothing that leaves the workload's folder, or that an agent uses itself.

The same on both sides: the control plane refuses what an agent would. Pure.
"""

from __future__ import annotations

RESERVED = frozenset(
    {"data", "rev", "current", "trial", "engine.log", "engine.log.1", "engine.lock", "headrace.yaml", "headrace.conf"}
)
"""What an agent itself keeps in a workload's folder."""

DEEPEST = 8
_LONGEST_PART = 255


def objection(name: str) -> str:
    """What is wrong with a file's name, to be put after it; empty for a good one."""
    parts = name.split("/")
    if not name.isprintable() or "\\" in name or {"", ".", ".."} & set(parts):
        return (
            "must be a relative path inside the workload's folder, like 'parsers.conf' or 'lua/filter.lua', "
            "of printable characters and without '\\'"
        )
    if parts[0] in RESERVED or parts[0].startswith("."):
        return "is one that the agent uses itself; choose another one"
    if any(len(part.encode(errors="replace")) > _LONGEST_PART for part in parts) or len(parts) > DEEPEST:
        return f"is too long or too deep: at most {_LONGEST_PART} bytes in each of at most {DEEPEST} parts"
    return ""
