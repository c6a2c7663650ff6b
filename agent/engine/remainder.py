"""What a stop cannot deliver: kept on disk where that is possible, else left at its source, else lost and counted."""

from collections.abc import Iterable
from dataclasses import dataclass

from agent.engine.buffer import InputBuffer
from agent.engine.logs import ROOT as LOG
from agent.engine.metrics import Accounts


@dataclass(slots=True)
class Remainder:
    """Records that a stop had to leave: on disk for the next run, at their source to be read again, or nowhere."""

    kept: int = 0
    replayable: int = 0
    lost: int = 0

    def __bool__(self) -> bool:
        return bool(self.kept or self.replayable or self.lost)

    def __str__(self) -> str:
        return (
            f"{self.kept} are on disk for the next start, {self.replayable} will be read again, {self.lost} are lost"
            + (" (set 'storage.path' to keep such records)" if self.lost else "")
        )


def keep_rest(buffers: Iterable[InputBuffer], accounts: Accounts) -> Remainder:
    """Keep every chunk that some output has not settled; says how many records are where.

    In the accounts, what is kept is one copy again, and what is lost stays unaccounted for.
    """
    remainder = Remainder()
    for buffer in buffers:
        for chunk in buffer.chunks:
            try:
                kept = buffer.keep(chunk)
            except (OSError, ValueError) as error:
                LOG.error("[storage] a chunk of %d records cannot be kept: %s", chunk.count, error)
                kept = False
            copies = chunk.count * len(chunk.waiting) if chunk.signal == "logs" else 0
            if kept:
                remainder.kept += chunk.count
                accounts.copied -= copies - chunk.count if copies else 0
            elif chunk.replayable:
                remainder.replayable += chunk.count
                accounts.returned += copies
            else:
                remainder.lost += chunk.count
    return remainder
