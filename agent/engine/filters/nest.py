"""Filter `nest`: puts keys into a map under a new key, or lifts the keys of a map up."""

from collections.abc import Callable
from dataclasses import dataclass

from agent.engine.config import STRING, InvalidProperty, option
from agent.engine.plugin import Context, Emit
from agent.engine.record import Batch, Record
from agent.engine.registry import filters


@dataclass(frozen=True, slots=True, kw_only=True)
class NestConfig:
    """What the nest filter takes."""

    operation: str = option(STRING, required=True, choices=("nest", "lift"), help="what to do")
    wildcard: tuple[str, ...] = option(
        STRING, repeated=True, help="for nest: a key to move; with a '*' at its end a prefix"
    )
    nest_under: str | None = option(STRING, help="for nest: the new key")
    nested_under: str | None = option(STRING, help="for lift: the key whose map is lifted")
    add_prefix: str | None = option(STRING, help="put before each moved key")
    remove_prefix: str | None = option(STRING, help="taken from each moved key that begins so")


@filters.register("nest", NestConfig)
class Nest:
    """Nests keys under another, or lifts them."""

    def __init__(self, config: NestConfig, context: Context) -> None:
        if config.add_prefix is not None and config.remove_prefix is not None:
            raise InvalidProperty("add_prefix", "cannot be used together with remove_prefix")
        key = config.nest_under if config.operation == "nest" else config.nested_under
        if key is None:
            name = "nest_under" if config.operation == "nest" else "nested_under"
            raise InvalidProperty("operation", f"{config.operation} needs {name!r}")
        self._key = key
        self._exact = {name for name in config.wildcard if not name.endswith("*")}
        self._prefixes = tuple(name[:-1] for name in config.wildcard if name.endswith("*"))
        self._add, self._remove = config.add_prefix or "", config.remove_prefix or ""
        self._change: Callable[[Record], Record] = self._nest if config.operation == "nest" else self._lift

    def process(self, batch: Batch, emit: Emit) -> Batch:
        batch.records = [self._change(record) for record in batch.records]
        return batch

    async def open(self) -> None:
        pass

    async def close(self) -> None:
        pass

    def _renamed(self, moved: Record) -> Record:
        return {self._add + key.removeprefix(self._remove): value for key, value in moved.items()}

    def _nest(self, record: Record) -> Record:
        moved = {k: v for k, v in record.items() if k in self._exact or k.startswith(self._prefixes)}
        if not moved:
            return record
        rest = {k: v for k, v in record.items() if k not in moved}
        return {**rest, self._key: self._renamed(moved)}

    def _lift(self, record: Record) -> Record:
        lifted = record.get(self._key)
        if not isinstance(lifted, dict):
            return record
        rest = {k: v for k, v in record.items() if k != self._key}
        return {**rest, **self._renamed(lifted)}
