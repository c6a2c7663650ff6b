"""Filter `record_modifier`: adds fixed pairs, removes keys or keeps only some."""

import uuid
from collections.abc import Callable
from dataclasses import dataclass

from agent.engine.config import PAIR, STRING, InvalidProperty, option
from agent.engine.plugin import Context, Emit
from agent.engine.record import Batch
from agent.engine.registry import filters


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordModifierConfig:
    """What the record_modifier filter takes.

    Keys are compared without case; a `*` at the end takes every key that begins so.
    """

    record: tuple[tuple[str, str], ...] = option(PAIR, repeated=True, help="a key and a value to append")
    remove_key: tuple[str, ...] = option(STRING, repeated=True, help="a key to remove")
    allowlist_key: tuple[str, ...] = option(STRING, repeated=True, help="a key to keep; all others are removed")
    whitelist_key: tuple[str, ...] = option(STRING, repeated=True, help="the same as allowlist_key")
    uuid_key: str | None = option(STRING, help="key for a random identifier of the record")


@filters.register("record_modifier", RecordModifierConfig)
class RecordModifier:
    """Appends pairs and removes keys."""

    def __init__(self, config: RecordModifierConfig, context: Context) -> None:
        allowed = config.allowlist_key + config.whitelist_key
        if config.remove_key and allowed:
            raise InvalidProperty("remove_key", "cannot be used together with allowlist_key")
        self._appended = dict(config.record)
        self._uuid_key = config.uuid_key
        self._is_listed = _key_matcher(config.remove_key or allowed)
        self._keeps_listed = bool(allowed)
        self._selects = bool(allowed or config.remove_key)

    def process(self, batch: Batch, emit: Emit) -> Batch:
        if self._selects:
            is_listed, keeps = self._is_listed, self._keeps_listed
            batch.records = [{k: v for k, v in record.items() if is_listed(k) is keeps} for record in batch.records]
        for record in batch.records:
            record.update(self._appended)
            if self._uuid_key:
                record[self._uuid_key] = str(uuid.uuid4())
        return batch if all(batch.records) else batch.keep([at for at, record in enumerate(batch.records) if record])

    async def open(self) -> None:
        pass

    async def close(self) -> None:
        pass


def _key_matcher(keys: tuple[str, ...]) -> Callable[[str], bool]:
    """A predicate that remembers its answers: records of one source have the same few keys."""
    exact = {key.lower() for key in keys if not key.endswith("*")}
    prefixes = tuple(key[:-1].lower() for key in keys if key.endswith("*"))
    known: dict[str, bool] = {}

    def matches(key: str) -> bool:
        answer = known.get(key)
        if answer is None:
            if len(known) > 10_000:
                known.clear()
            lower = key.lower()
            answer = known[key] = lower in exact or lower.startswith(prefixes)
        return answer

    return matches
