"""Text to document: which format it is in, and the one way in for both.

`parse` finds every fault in one go, in every file that is included, and raises them together.
"""

import re
from collections.abc import Callable
from typing import Literal

from headrace.config.classic_format import read_classic
from headrace.config.draft import Draft, Read
from headrace.config.model import Document, Format
from headrace.config.yaml_format import read_yaml

_CLASSIC_START = re.compile(r"\[\w+(?:\]|$)|@(?:include|set)\s", re.IGNORECASE)

_READERS: dict[Format, Callable[[Draft, str, str], None]] = {"yaml": read_yaml, "classic": read_classic}


def parse(
    text: str,
    *,
    file: str = "pipeline.yaml",
    format: Literal["auto", "yaml", "classic"] = "auto",
    read: Read | None = None,
) -> Document:
    """Read a configuration. `file` is its name in positions, and included names are relative to its folder.

    `read` supplies included files; without it an include is a fault. Raises ConfigError with every fault.
    """
    known: Format = detect(text, file) if format == "auto" else format
    draft = Draft(format=known, read=read, files=[file])
    _READERS[known](draft, text, file)
    return draft.finish()


def detect(text: str, file: str = "") -> Format:
    """The format by the first line that is neither empty nor a comment; the file's name decides where that is open."""
    lines = (line.strip() for line in text.removeprefix("\ufeff").split("\n"))
    first = next((line for line in lines if line and not line.startswith("#")), "")
    if _CLASSIC_START.match(first) or (file.lower().endswith(".conf") and ":" not in first):
        return "classic"
    return "yaml"
