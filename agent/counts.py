"""What the agent counts about itself, for its metrics; the parts that it happens in add to it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class Counts:
    """Since this process began."""

    sessions: int = 0
    """How often a connection to the control plane came about; all but the first are reconnects."""
    applies: int = 0
    failed_applies: int = 0
    engine_exits: int = 0
    """How often an engine ended by itself."""
    is_connected: bool = False
    clock_ahead_s: int = 0
    """By how much the host's clock is ahead of the control plane's, where that is too much."""
