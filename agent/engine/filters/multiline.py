"""Filter `multiline`: puts messages together that are spread over several records, by multi-line parsers, or, in mode
`partial_message`, by the keys that Docker gives to the parts of a message that it has split.

With `buffer` (the default) a message may be spread over batches: records are kept per tag until their message is
complete, or nothing was added to it for `flush_ms`, and come again from the first filter on. What is kept is not
acknowledged to its input meanwhile, so a crash loses nothing. Without it a batch is all that is looked at.
"""

import asyncio
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from agent.engine.config import BOOLEAN, COMMA_LIST, INTEGER, SIZE, STRING, InvalidProperty, option
from agent.engine.multiline import Assembler, Message, MultilineParser
from agent.engine.partials import PartialMessages
from agent.engine.plugin import Context, Emit, Held
from agent.engine.record import Batch, Record
from agent.engine.registry import filters

MAX_STREAMS = 10_000
"""Tags whose state is kept although nothing of theirs waits."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MultilineFilterConfig:
    """What the multiline filter takes."""

    multiline_parser: tuple[str, ...] = option(
        COMMA_LIST, (), name="multiline.parser", repeated=True, help="multi-line parsers to try in this order"
    )
    key_content: str | None = option(STRING, name="multiline.key_content", help="key that holds the text")
    mode: str = option(STRING, "parser", choices=("parser", "partial_message"), help="how records are put together")
    buffer: bool = option(BOOLEAN, True, help="whether a message may be spread over several batches")
    flush_ms: int = option(INTEGER, 2000, help="milliseconds without an addition after which a message is complete")
    emitter_name: str | None = option(STRING, help="taken; has no effect")
    emitter_storage_type: str = option(STRING, "memory", name="emitter_storage.type", help="taken; has no effect")
    emitter_mem_buf_limit: int = option(SIZE, 10_000_000, help="taken; has no effect")


@dataclass(slots=True)
class _Stream:
    """The records of one tag. `held` has the batches that what waits is from, each with the mark after its end."""

    tag: str
    messages: Assembler
    held: deque[tuple[int, Held]] = field(default_factory=deque)
    metadata: dict[int, Record] = field(default_factory=dict)
    size: int = 0
    timer: asyncio.TimerHandle | None = None


@filters.register("multiline", MultilineFilterConfig, refused=("debug_flush",))
class MultilineFilter:
    """Puts multi-line messages together."""

    def __init__(self, config: MultilineFilterConfig, context: Context) -> None:
        if config.buffer and not context.may_emit:
            raise InvalidProperty("buffer", "a processor cannot keep records back; set 'buffer' to off")
        if config.flush_ms <= 0:
            raise InvalidProperty("flush_ms", "expected more than 0 milliseconds")
        self._partials: PartialMessages | None = None
        if config.mode == "partial_message":
            if not config.buffer:
                raise InvalidProperty("buffer", "mode partial_message keeps records back; leave 'buffer' on")
            if config.key_content is None:
                raise InvalidProperty(
                    "multiline.key_content", "is needed in mode partial_message: the key that is split"
                )
            self._partials = PartialMessages(config.key_content, context, flush=config.flush_ms / 1000)
        elif not config.multiline_parser:
            raise InvalidProperty("multiline.parser", "name at least one, such as java, python, go or docker")
        parsers = [context.multiline_parser("multiline.parser", name) for name in config.multiline_parser]
        self._parsers = [self._with_key(parser, config.key_content) for parser in parsers]
        self._config = config
        self._limit = context.multiline_limit
        self._streams: dict[str, _Stream] = {}
        self._marks = 0

    def process(self, batch: Batch, emit: Emit) -> Batch:
        if not batch.records:
            return batch
        if self._partials is not None:
            return self._partials.process(batch, emit)
        stream = self._stream(batch.tag if self._config.buffer else "")
        stream.tag = batch.tag
        complete = self._append(stream, batch)
        if not self._config.buffer:
            return self._batch(stream, [*complete, *stream.messages.flush()])
        stream.held.append((self._marks, emit.hold()))
        self._emit(stream, complete)
        self._let_go(stream)
        return batch.keep(())

    async def open(self) -> None:
        pass

    async def close(self) -> None:
        if self._partials is not None:
            self._partials.close()
        for stream in self._streams.values():
            self._flush(stream)
        self._streams.clear()

    @staticmethod
    def _with_key(parser: MultilineParser, key: str | None) -> MultilineParser:
        return replace(parser, key_content=key) if key is not None else parser

    def _stream(self, tag: str) -> _Stream:
        stream = self._streams.get(tag)
        if stream is None:
            if len(self._streams) >= MAX_STREAMS:
                self._streams = {name: kept for name, kept in self._streams.items() if kept.held}
            stream = self._streams[tag] = _Stream(tag, Assembler(self._parsers, self._limit))
        return stream

    def _append(self, stream: _Stream, batch: Batch) -> list[Message]:
        complete: list[Message] = []
        for at, record in enumerate(batch.records):
            if batch.metadata is not None and batch.metadata[at]:
                stream.metadata[self._marks] = batch.metadata[at]
            complete += stream.messages.append(record, batch.times[at], self._marks)
            self._marks += 1
        stream.size += batch.size
        return complete

    def _batch(self, stream: _Stream, messages: Iterable[Message]) -> Batch:
        """The messages as records, each with the metadata of its first one."""
        done = list(messages)
        metadata = [stream.metadata.get(mark, {}) for _, _, mark in done]
        size, stream.size = stream.size, 0
        records = [record for _, record, _ in done]
        return Batch(stream.tag, [when for when, _, _ in done], records, metadata if any(metadata) else None, size)

    def _let_go(self, stream: _Stream) -> None:
        """Acknowledge the batches that nothing waits of any more, and look again when the rest has had its time."""
        pending = stream.messages.pending_mark
        while stream.held and (pending is None or stream.held[0][0] <= pending):
            stream.held.popleft()[1].release()
        for mark in [mark for mark in stream.metadata if pending is None or mark < pending]:
            del stream.metadata[mark]
        if stream.timer is not None:
            stream.timer.cancel()
            stream.timer = None
        if stream.held:
            loop = asyncio.get_running_loop()
            stream.timer = loop.call_later(self._config.flush_ms / 1000, self._flush, stream)

    def _flush(self, stream: _Stream) -> None:
        """Whatever waits counts as complete."""
        self._emit(stream, list(stream.messages.flush()))
        self._let_go(stream)

    def _emit(self, stream: _Stream, messages: list[Message]) -> None:
        if messages and stream.held:
            first, *others = (held for _, held in stream.held)
            first.emit(self._batch(stream, messages), others)
