"""When agents know more than this instance: it was restored from a backup, or they come from another one.

The counter is raised past what they know, a new epoch starts, and every pipeline is stamped anew: agents take what they
run already without touching an engine, and nothing that they know can be taken for newer than what is desired.
"""

from __future__ import annotations

from dataclasses import replace

from controlplane.model import PipelineRow, Topic
from controlplane.state.store import Store, Transaction
from headrace.errors import ProtocolError
from headrace.types import Observed, Severity

_HIGHEST = 1 << 53
_MOST_EPOCHS = 1000


def highest(observed: Observed) -> int:
    """The highest generation that a report names. Raises ProtocolError for one that no counter can have reached."""
    attempt, running = observed.attempt, observed.running
    number = max(
        observed.desired, observed.good, attempt.generation if attempt else 0, running.generation if running else 0
    )
    if number >= _HIGHEST:
        raise ProtocolError(f"pipeline {observed.pipeline!r}: generation {number} is out of range")
    return number


async def raise_past(tx: Transaction, generation: int, *, agent_id: str) -> None:
    """Starts a new epoch if the counter is below a generation that an agent reported."""
    plane = await tx.plane()
    if generation <= plane.generation:
        return
    tx.raise_generation(generation)
    epoch = tx.next_epoch()
    stamped = [replace(row, generation=tx.next_generation()) for row in await tx.find(PipelineRow, deleted=False)]
    await tx.put(*stamped)
    tx.log(Topic.PLANE, "epoch")
    if stamped:
        tx.log(Topic.PIPELINE, *(row.name for row in stamped))
    tx.event(
        "plane.history_cut",
        f"an agent reported generation {generation}, this instance had counted to {plane.generation}: it was restored "
        f"from a backup, or the agent comes from another instance; epoch {epoch} starts, {len(stamped)} pipelines got "
        "new generations, nothing is stopped",
        severity=Severity.WARNING,
        agent_id=agent_id,
    )


class History:
    """The same for an epoch that an agent has seen and this instance has not reached."""

    def __init__(self, *, store: Store) -> None:
        self._store = store

    async def reach(self, epoch: int, *, agent_id: str) -> int:
        """Goes past an epoch that was reported for this very instance; returns the epoch that holds then.

        Raises ProtocolError for one that is too far away to be true.
        """
        async with self._store.write() as tx:
            plane = await tx.plane()
            if epoch <= plane.epoch:
                return plane.epoch
            if epoch - plane.epoch > _MOST_EPOCHS:
                raise ProtocolError(f"epoch {epoch} is out of range; this instance is at {plane.epoch}")
            reached = plane.epoch
            while reached <= epoch:
                reached = tx.next_epoch()
            tx.log(Topic.PLANE, "epoch")
            tx.event(
                "plane.history_cut",
                f"an agent has seen epoch {epoch}, this instance was at {plane.epoch}: it was restored from an older "
                f"backup; epoch {reached} starts",
                severity=Severity.WARNING,
                agent_id=agent_id,
            )
            return reached
