"""Messages that Docker has split: records with `partial_message`, `partial_id` and, the last one, `partial_last`.

A message is the first of its records, without these keys, with the texts of all under the key that was split. What is
whole within a batch stays in its place. Any other message is emitted when its last part is there, or when nothing was
added to it for the time to flush; until then its parts are not acknowledged to their input.
"""

import asyncio
from dataclasses import dataclass, field

from agent.engine.alarm import Alarm
from agent.engine.plugin import Context, Emit
from agent.engine.record import Batch, Record
from agent.engine.shares import Share

PREFIX = "partial_"


@dataclass(slots=True)
class _Message:
    tag: str
    when: int
    record: Record
    metadata: Record
    texts: list[str] = field(default_factory=list)
    size: int = 0
    shares: list[Share] = field(default_factory=list)
    due: float = 0.0


class PartialMessages:
    """Puts such messages together; `key` is what was split, `flush` is seconds."""

    def __init__(self, key: str, context: Context, *, flush: float) -> None:
        self._key = key
        self._flush = flush
        self._limit = context.multiline_limit
        self._log = context.log
        self._waiting: dict[tuple[str, str], _Message] = {}
        self._alarm = Alarm(self._decide)

    def process(self, batch: Batch, emit: Emit) -> Batch:
        partial = [at for at, record in enumerate(batch.records) if self._is_part(record)]
        if not partial:
            return batch
        share = Share(emit.hold())
        whole: dict[int, _Message] = {}
        for at in partial:
            message = self._add(batch, at, share)
            if _is_true(batch.records[at].get("partial_last")) or message.size > self._limit:
                del self._waiting[batch.tag, batch.records[at]["partial_id"]]
                if message.shares == [share]:
                    whole[at] = message
                    share.done()
                else:
                    self._emit([message])
        for at, message in whole.items():
            batch.records[at], batch.times[at] = self._record(message), message.when
            if batch.metadata is not None:
                batch.metadata[at] = message.metadata
        share.done()
        self._set_alarm()
        left_out = set(partial) - whole.keys()
        return batch.keep([at for at in range(len(batch)) if at not in left_out])

    def close(self) -> None:
        """Whatever waits counts as whole."""
        self._decide(float("inf"))

    def _is_part(self, record: Record) -> bool:
        if not _is_true(record.get("partial_message")):
            return False
        if isinstance(record.get("partial_id"), str) and isinstance(record.get(self._key), str):
            return True
        self._log.warning("a part of a message has no text under 'partial_id' or %r; it stays as it is", self._key)
        return False

    def _add(self, batch: Batch, at: int, share: Share) -> _Message:
        record, metadata = batch.records[at], batch.metadata[at] if batch.metadata is not None else {}
        key = (batch.tag, record["partial_id"])
        message = self._waiting.pop(key, None) or _Message(batch.tag, batch.times[at], record, metadata)
        self._waiting[key] = message  # last, because it is the last to be due
        message.texts.append(record[self._key])
        message.size += len(record[self._key])
        message.due = asyncio.get_running_loop().time() + self._flush
        if share not in message.shares:
            share.wait()
            message.shares.append(share)
        return message

    def _record(self, message: _Message) -> Record:
        own = {key: value for key, value in message.record.items() if not key.startswith(PREFIX) and key != self._key}
        return {**own, self._key: "".join(message.texts)}

    def _emit(self, messages: list[_Message]) -> None:
        """One by one, so that each holds no more than what it is made of."""
        for message in messages:
            first, *others = (share.held for share in message.shares)
            metadata = [message.metadata] if message.metadata else None
            first.emit(Batch(message.tag, [message.when], [self._record(message)], metadata, message.size), others)
            for share in message.shares:
                share.done()

    def _decide(self, now: float) -> None:
        due = {key: message for key, message in self._waiting.items() if message.due <= now}
        for key in due:
            del self._waiting[key]
        self._emit(list(due.values()))
        self._set_alarm()

    def _set_alarm(self) -> None:
        self._alarm.set(next((message.due for message in self._waiting.values()), None))


def _is_true(value: object) -> bool:
    return value is True or (isinstance(value, str) and value.lower().startswith("true"))
