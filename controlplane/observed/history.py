"""When agents know what this instance never said: it was restored from a backup, or they come from another one.

The counter is raised past what they know, a new epoch starts, and every pipeline is stamped anew: agents take what they
run already without touching an engine, and nothing that they know can be taken for newer than what is desired. A
tombstone keeps its number: what is newer than it is not what was deleted here, and stays as an orphan.
"""

from __future__ import annotations

from dataclasses import replace

from controlplane.model import PipelineRow, Topic
from controlplane.observed.bounds import highest
from controlplane.state.store import Store, Transaction
from headrace.errors import ProtocolError
from headrace.types import Observed, Severity

_MOST_EPOCHS = 1000


def contradiction(observed: Observed, known: PipelineRow | None, *, counter: int) -> str:
    """What a report names that this instance cannot have given, in words; empty when there is no such thing. Pure.

    `known` is the pipeline as of now, `counter` the newest generation given to any pipeline.
    """
    name, top, running = observed.pipeline, highest(observed), observed.running
    if known is None or known.deleted:
        return f"generation {top} of pipeline {name!r}, having counted to {counter}" if top > counter else ""
    if top > known.generation:
        return f"generation {top} of pipeline {name!r}, whose newest is {known.generation}"
    if running is not None and running.generation == known.generation and running.sha256 != known.sha256:
        return f"another content as generation {top} of pipeline {name!r}"
    return ""


async def cut(tx: Transaction, why: str, *, past: int, agent_id: str) -> None:
    """Starts a new epoch, in which every number is greater than `past`, the highest that was reported."""
    tx.raise_generation(past)
    epoch = tx.next_epoch()
    stamped = [replace(row, generation=tx.next_generation()) for row in await tx.find(PipelineRow, deleted=False)]
    await tx.put(*stamped)
    tx.log(Topic.PLANE, "epoch")
    if stamped:
        tx.log(Topic.PIPELINE, *(row.name for row in stamped))
    tx.event(
        "plane.history_cut",
        f"an agent reports what this instance never gave: {why}; it was restored from a backup, or the agent comes "
        f"from another instance; epoch {epoch} starts, every pipeline gets a new generation, nothing is stopped",
        severity=Severity.WARNING,
        agent_id=agent_id,
    )


class History:
    """The same for an epoch that an agent has seen and this instance has not reached."""

    def __init__(self, *, store: Store) -> None:
        self._store = store

    async def reach(self, epoch: int, *, agent_id: str) -> int:
        """Goes past an epoch that was seen of this very instance; returns the epoch that holds then.

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
