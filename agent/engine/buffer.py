"""Between filters and outputs: records gather in chunks by tag, chunks wait for their outputs, memory stays bounded.

A chunk is settled when every output that its tag is routed to has taken it or given it up. A push is acknowledged when
all chunks that hold its records are settled, or, for an input that keeps its chunks on disk, as soon as they are there.
Used from the event loop's thread only; nothing here waits except `has_room` and `is_idle`, which are events.
"""

import asyncio
import itertools
import logging
import time
from collections.abc import Callable

from agent.engine.record import Batch, Signal
from agent.engine.storage import ChunkFile, ChunkStore
from agent.engine.tracing import Look

_log = logging.getLogger("agent.engine.storage")

CHUNK_SIZE = 2_000_000
DEFAULT_LIMIT = 10_000_000

_numbers = itertools.count(time.time_ns())


class Ticket:
    """One push: calls `ack` once, when everything that holds it has let go."""

    __slots__ = ("_ack", "_holders")

    def __init__(self, ack: Callable[[], None] | None) -> None:
        self._ack = ack
        self._holders = 1

    def hold(self) -> None:
        self._holders += 1

    @property
    def replayable(self) -> bool:
        """Whether the input reads the records again when they are never acknowledged."""
        return self._ack is not None

    def release(self) -> None:
        self._holders -= 1
        if self._holders == 0 and self._ack is not None:
            self._ack()


class Chunk:
    """Records of one tag on their way to some outputs.

    `waiting` has the names of the outputs that still need it, `done` of those that do not any more. A chunk with a file
    may be out of memory (`unload`), and is read again when an output wants it (`load`).
    """

    __slots__ = (
        "_batch",
        "buffer",
        "count",
        "created",
        "done",
        "file",
        "looks",
        "number",
        "signal",
        "size",
        "tag",
        "tickets",
        "waiting",
    )

    def __init__(self, number: int, batch: Batch, buffer: "InputBuffer", file: ChunkFile | None = None) -> None:
        self.number = number
        self.created = time.monotonic()
        self.tag = batch.tag
        self.signal = batch.signal
        self.buffer = buffer
        self.file = file
        self.waiting: set[str] = set()
        self.done: set[str] = set()
        self.tickets: list[Ticket] = []
        self.looks: list[Look] = []
        self.count = len(batch)
        self.size = batch.size
        self._batch: Batch | None = batch

    @property
    def in_memory(self) -> bool:
        return self._batch is not None

    @property
    def replayable(self) -> bool:
        return all(ticket.replayable for ticket in self.tickets)

    def append(self, batch: Batch) -> None:
        assert self._batch is not None
        self._batch.extend(batch)
        self.count += len(batch)
        self.size += batch.size

    def load(self) -> Batch:
        """The records. Raises OSError or ValueError when they must come from disk and cannot."""
        if self._batch is None:
            assert self.file is not None
            self._batch, _ = self.file.load()
            self.buffer.memory += self.size
        return self._batch

    def unload(self) -> None:
        """Drop the records from memory if they are on disk."""
        if self.file is not None and self._batch is not None:
            self._batch = None
            self.buffer.memory -= self.size

    def settle(self, output: str) -> None:
        """This output needs the chunk no more."""
        self.waiting.discard(output)
        self.done.add(output)
        if not self.waiting:
            self.buffer.settle(self)
        elif self.file is not None:
            self.file.mark_done(output)


class InputBuffer:
    """The chunks of one input: open ones that records are added to, and sent ones that outputs have not settled.

    `send` is called with every chunk that is ready for its outputs; `dirty` when the first record of a new chunk
    arrives.
    """

    def __init__(
        self,
        source: str,
        *,
        send: Callable[[Chunk], None],
        dirty: Callable[[], None],
        limit: int = 0,
        store: ChunkStore | None = None,
        durable: bool = False,
        plugin: str = "",
    ) -> None:
        self.source = source
        self.plugin = plugin
        self.store = store
        self.durable = durable
        self.limit = limit or DEFAULT_LIMIT
        self.memory = 0
        self.sent: set[Chunk] = set()
        self.has_room = asyncio.Event()
        self.has_room.set()
        self.is_idle = asyncio.Event()
        self.is_idle.set()
        self._held = 0
        self._open: dict[tuple[str, Signal], Chunk] = {}
        self._send = send
        self._dirty = dirty

    @property
    def paused(self) -> bool:
        return not self.has_room.is_set()

    @property
    def chunks(self) -> list[Chunk]:
        """Every chunk that is not settled, oldest first."""
        return sorted([*self.sent, *self._open.values()], key=lambda chunk: chunk.number)

    def append(self, batch: Batch, *tickets: Ticket, look: Look | None = None) -> None:
        """Take a batch that is part of some pushes; `look` sees what becomes of it.

        One that the disk refuses waits in memory and is acknowledged only when delivered.
        """
        key = (batch.tag, batch.signal)
        chunk = self._open.get(key)
        if chunk is not None and chunk.file is not None and not self._write(chunk.file.append, batch):
            del self._open[key]
            self._hand_over(chunk)
            chunk = None
        if chunk is None:
            chunk = self._start(batch)
        else:
            chunk.append(batch)
        if chunk.file is None:
            for ticket in tickets:
                ticket.hold()
            chunk.tickets += tickets
        if look is not None:
            look.passed(batch)
            chunk.looks.append(look)
        self.memory += batch.size
        self.is_idle.clear()
        if chunk.size >= CHUNK_SIZE:
            del self._open[key]
            self._hand_over(chunk)
        self._check_room()

    def hold(self, size: int = 0) -> None:
        """Records of this input are kept before it, for later; it is not idle until they are let go.

        `size` is what they count as memory.
        """
        self._held += 1
        self.memory += size
        self.is_idle.clear()
        self._check_room()

    def let_go(self, size: int = 0) -> None:
        """One batch less is kept, which was held with the same `size`."""
        self._held -= 1
        self.memory -= size
        self._check_room()
        self._check_idle()

    def flush(self) -> None:
        """Send every open chunk."""
        chunks, self._open = list(self._open.values()), {}
        for chunk in chunks:
            self._hand_over(chunk)

    def adopt(self, chunk: Chunk) -> None:
        """Send a chunk that an earlier run left on disk; it stays there until an output wants it."""
        self.is_idle.clear()
        self.memory += chunk.size
        chunk.unload()
        self._hand_over(chunk)

    def settle(self, chunk: Chunk) -> None:
        """Nobody needs the chunk any more: let its pushes know and forget it."""
        self.sent.discard(chunk)
        if chunk.in_memory:
            self.memory -= chunk.size
        if chunk.file is not None:
            chunk.file.remove()
        for ticket in chunk.tickets:
            ticket.release()
        chunk.tickets.clear()
        self._check_room()
        self._check_idle()

    def keep(self, chunk: Chunk) -> bool:
        """Write a chunk to disk so that the next run delivers it, and acknowledge it.

        False where there is no store; raises OSError when the disk refuses.
        """
        if chunk.file is None:
            if self.store is None:
                return False
            file = self.store.file(self.source, chunk.number)
            file.create(chunk.load())
            for output in chunk.done:
                file.mark_done(output)
            chunk.file = file
        for ticket in chunk.tickets:
            ticket.release()
        chunk.tickets.clear()
        return True

    def _check_idle(self) -> None:
        if not self.sent and not self._open and not self._held:
            self.is_idle.set()

    def _start(self, batch: Batch) -> Chunk:
        chunk = self._open[batch.tag, batch.signal] = Chunk(next(_numbers), batch, self)
        if self.durable and self.store is not None:
            file = self.store.file(self.source, chunk.number)
            if self._write(file.create, batch):
                chunk.file = file
        self._dirty()
        return chunk

    def _write(self, write: Callable[[Batch], None], batch: Batch) -> bool:
        try:
            write(batch)
        except OSError as error:
            _log.error("[storage] records of %s cannot be kept on disk and wait in memory: %s", self.source, error)
            return False
        return True

    def _hand_over(self, chunk: Chunk) -> None:
        self.sent.add(chunk)
        self._send(chunk)
        if chunk in self.sent and self.memory > self.limit:
            chunk.unload()

    def _check_room(self) -> None:
        if self.memory > (2 * self.limit if self.durable else self.limit):  # chunks on disk leave memory at the limit
            self.has_room.clear()
        else:
            self.has_room.set()
