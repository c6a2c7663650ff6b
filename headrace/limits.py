"""The bounds on what one end takes from the other; each is configurable, and each is named when it is hit."""

from __future__ import annotations

from dataclasses import dataclass

KIB, MIB = 1 << 10, 1 << 20

SHORTEST_SAMPLE_S, LONGEST_SAMPLE_S = 1.0, 3600.0
DEFAULT_SAMPLE_S = 10.0
"""How often agents measure."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Sizes in bytes unless the name says otherwise."""

    configuration: int = 1 * MIB
    file: int = 8 * MIB
    pipeline: int = 32 * MIB
    files_per_pipeline: int = 1000
    pipelines_per_agent: int = 200
    inline: int = 256 * KIB
    """A content up to this size, encoded, rides in `Desired`; a larger one is fetched as a blob."""
    inflation: int = 8
    """How many times its encoded size a payload may grow when it is decoded."""
    message: int = 4 * MIB
    handshakes: int = 400
    """How many sessions may be opening at once."""
    slow_reader_s: float = 20.0
    """An agent that takes nothing for so long is cut."""


DEFAULT_LIMITS = Limits()
