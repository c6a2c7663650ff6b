"""The bound on how many agents one change may take pipelines away from. Pure."""

from __future__ import annotations

from controlplane.words import some
from headrace.errors import ConfirmError

FLOOR = 5
"""So many agents may always lose pipelines unconfirmed; a tenth of the fleet, where that is more."""


def bound(agents: int, *, floor: int = FLOOR) -> int:
    """How many of so many agents may lose pipelines without a confirmation."""
    return max(floor, agents // 10)


def check(*, agents: int, losing: int, confirm: int, floor: int = FLOOR) -> None:
    """Raises ConfirmError when more agents lose pipelines than the bound and the confirmation allow."""
    allowed = bound(agents, floor=floor)
    if losing <= allowed or losing <= confirm:
        return
    given = f"; --confirm {confirm} is not enough" if confirm else ""
    raise ConfirmError(
        f"this would take pipelines away from {losing} of {some(agents, 'agent')}, more than the {allowed} that need "
        f"no confirmation{given}; check selector and labels, then repeat with --confirm {losing}",
        confirm=losing,
    )
