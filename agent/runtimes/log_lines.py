"""What an engine's log says went wrong, as faults; and whether that is the configuration's doing. Pure.

Both engines write Fluent Bit's lines: `[2026/11/22 10:00:00] [error] [input:tail:tail.0] text`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from headrace.types import Fault

MAX_FAULTS = 20

_LINE = re.compile(r"^(?:\[[^\]]*\d\] )?\[ *(?P<level>error|warn|info|debug|trace)\] (?P<text>.*)$")
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
_PLUGIN = re.compile(r"\[(?:input|filter|output|processor|custom):(?P<plugin>[a-z0-9_]+)(?::[^\]]*)?\]")
_UNKNOWN_PROPERTY = re.compile(r"(?P<plugin>[a-z0-9_]+): unknown configuration property '(?P<property>[^']+)'")
_UNKNOWN_PLUGIN = re.compile(r"section '(?P<plugin>[^']+)' tried to instance a plugin name that doesn't exist")
_NAMED = re.compile(r"^(?:input|filter|output|processor|custom|parser) '(?P<plugin>[^'.]+)[^']*'")
_PROPERTY = re.compile(r"property '(?P<property>[^']+)'")
_PLACED = re.compile(r"^(?:\[config\] )?(?:(?P<file>[^ :]+):(?P<line>\d+):(?P<column>\d+): )?(?P<rest>.*)$")
_ENVIRONMENT = re.compile(
    r"could not bind|address already in use|cannot assign requested address|no space left|too many open files"
    r"|cannot allocate memory|database is locked|disk quota|read-only file system|permission denied|input/output error",
    re.IGNORECASE,
)
_CONSEQUENCES = (
    "configuration file contains errors, aborting",
    "check properties for",
    "Failed initialize",
    "failed initialize",
    "initialization failed",
    "lib backend failed",
    "loaded configuration contains error(s)",
    "reloaded config is invalid",
    "reloaded config format is invalid",
    "reloading in progress",
)
"""What Fluent Bit adds after the line that tells what is wrong."""

HALTED = ("Reloading is halted", "reloaded config is invalid")
"""A reload that was refused while the old configuration runs on."""

BUSY = "reloading in progress"
"""A reload that was not taken, whatever the monitoring API said."""


def faults_in(log: str) -> tuple[Fault, ...]:
    """What the error lines say, without their mere consequences unless there is nothing else."""
    errors = list(_errors(log))
    causes = [text for text in errors if not any(phrase in text for phrase in _CONSEQUENCES)]
    unique = list(dict.fromkeys(causes or errors))
    return tuple(_fault(text) for text in unique[:MAX_FAULTS])


def is_environment(faults: tuple[Fault, ...]) -> bool:
    """Whether the surroundings prevented it: a port that is taken, a full disk, …"""
    return any(_ENVIRONMENT.search(fault.message) for fault in faults)


def last_line(log: str) -> str:
    """What was said last, where no line of it is an error."""
    lines = [line for line in log.splitlines() if line.strip()]
    return lines[-1].strip()[:500] if lines else "it said nothing"


def _errors(log: str) -> Iterator[str]:
    for line in _COLOUR.sub("", log).splitlines():
        match = _LINE.match(line)
        if match and match["level"] == "error":
            yield match["text"].strip()


def _fault(text: str) -> Fault:
    place = _PLACED.match(text)
    assert place
    message = place["rest"]
    patterns = (_UNKNOWN_PROPERTY, _UNKNOWN_PLUGIN, _NAMED, _PLUGIN)
    groups = next((found.groupdict() for each in patterns if (found := each.search(message))), {})
    prop = _PROPERTY.search(message)
    return Fault(
        message=message,
        plugin=groups.get("plugin", ""),
        property=groups.get("property") or (prop["property"] if prop else ""),
        file=place["file"] or "",
        line=int(place["line"] or 0),
        column=int(place["column"] or 0),
    )
