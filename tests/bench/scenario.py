"""What every scenario is given. A scenario is a function from `Options` to measurements, in the table of `__main__`."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """`quick` is for seeing that everything works: small fleets, few rounds, numbers that mean little."""

    agents: tuple[int, ...] = (1_000, 5_000)
    rounds: int = 7
    state: str = ""
    """URL of the state store; empty is SQLite."""
    quick: bool = False
    fluent_bit: str = field(
        default_factory=lambda: os.environ.get("FLUENT_BIT_BIN") or shutil.which("fluent-bit") or ""
    )
    """The real one, to compare with; empty is none."""
