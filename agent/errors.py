"""How an attempt fails: for what the configuration says, or for what surrounds it.

The difference decides what happens next. A configuration fault quarantines the generation; an environment fault is
tried again by itself.
"""

from __future__ import annotations

from collections.abc import Sequence

from headrace.errors import HeadraceError
from headrace.types import Fault


class AgentError(HeadraceError):
    """Base of what goes wrong inside the agent."""

    code = "unavailable"


class ConfigurationFault(AgentError):
    """The configuration cannot work here, however often it is tried."""

    code = "invalid"

    def __init__(self, *faults: Fault) -> None:
        super().__init__(_summary(faults), faults=faults)


class EnvironmentFault(AgentError):
    """The configuration may be right; something else is in the way now."""

    def __init__(self, *faults: Fault) -> None:
        super().__init__(_summary(faults), faults=faults)


def _summary(faults: Sequence[Fault]) -> str:
    return "; ".join(str(fault) for fault in faults)
