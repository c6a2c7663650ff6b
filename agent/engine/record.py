"""What travels through a pipeline: batches of records under one tag.

A record is a JSON-like mapping with a time (nanoseconds since the epoch) and, rarely, metadata. Records travel in
batches kept as parallel lists, because the cost of a stage is per call, not per record.

Ownership: whoever is handed a batch before it is buffered may change it and its records in place; after that, a batch
is shared between outputs and nobody changes it.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

Record: TypeAlias = dict[str, Any]
Signal: TypeAlias = Literal["logs", "metrics", "traces"]

NANOSECONDS = 1_000_000_000


@dataclass(slots=True)
class Batch:
    """Records of one tag, in order.

    `times` and `records` have the same length; `metadata` is None while every record's is empty, else has that length
    too. `size` is the number of bytes that the records came from: a measure for limits and metrics, not an exact one.
    Of signal `metrics` each record is a point (`agent.engine.points`), of `traces` a span (`agent.engine.spans`); only
    some outputs take those, and no filter.
    `origin` is the plugin and the instance that the records came in by; outputs are told it.
    """

    tag: str
    times: list[int] = field(default_factory=list)
    records: list[Record] = field(default_factory=list)
    metadata: list[Record] | None = None
    size: int = 0
    signal: Signal = "logs"
    origin: tuple[str, str] = ("", "")

    def __len__(self) -> int:
        return len(self.records)

    def extend(self, other: "Batch") -> None:
        """Append the records of `other`; its tag is not looked at."""
        if self.metadata is not None or other.metadata is not None:
            self.metadata = (self.metadata or [{} for _ in self.records]) + (
                other.metadata or [{} for _ in other.records]
            )
        self.times += other.times
        self.records += other.records
        self.size += other.size

    def copy(self) -> "Batch":
        """The same records, to be changed on their own."""
        metadata = None if self.metadata is None else [copied(about) for about in self.metadata]
        records = [copied(record) for record in self.records]
        return Batch(self.tag, list(self.times), records, metadata, self.size, self.signal)

    def keep(self, indexes: Iterable[int]) -> "Batch":
        """A batch of the records at `indexes`, in that order; its size is the same share of this one's."""
        kept = list(indexes)
        if len(kept) == len(self.records):
            return self
        return Batch(
            self.tag,
            [self.times[i] for i in kept],
            [self.records[i] for i in kept],
            None if self.metadata is None else [self.metadata[i] for i in kept],
            self.size * len(kept) // len(self.records),
            self.signal,
        )


def copied(value: Any) -> Any:
    """A JSON-like value, to be changed on its own."""
    if type(value) is dict:
        return {key: copied(item) for key, item in value.items()}
    return [copied(item) for item in value] if type(value) is list else value
