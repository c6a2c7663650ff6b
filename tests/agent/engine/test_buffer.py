"""Chunks between filters and outputs: acknowledgement, memory, disk."""

from collections.abc import Callable
from pathlib import Path
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from agent.engine.buffer import CHUNK_SIZE, Chunk, InputBuffer, Ticket
from agent.engine.record import Batch
from agent.engine.storage import ChunkStore


class Outputs:
    """Takes chunks for the outputs `names`, and settles them when told."""

    def __init__(self, *names: str) -> None:
        self.names = names
        self.chunks: list[Chunk] = []
        self.dirty = 0

    def send(self, chunk: Chunk) -> None:
        chunk.waiting = set(self.names)
        self.chunks.append(chunk)
        if not self.names:
            chunk.buffer.settle(chunk)

    def touch(self) -> None:
        self.dirty += 1


def batch(size: int = 10, tag: str = "t") -> Batch:
    return Batch(tag, [1], [{"n": 1}], None, size)


def put(buffer: InputBuffer, what: Batch, ack: Callable[[], None] | None) -> None:
    ticket = Ticket(ack)
    buffer.append(what, ticket)
    ticket.release()


async def test_a_push_is_acknowledged_when_the_last_output_has_it() -> None:
    outputs, acked = Outputs("a", "b"), []
    buffer = InputBuffer("in", send=outputs.send, dirty=outputs.touch)
    put(buffer, batch(), lambda: acked.append(1))
    put(buffer, batch(), lambda: acked.append(2))
    assert outputs.dirty == 1
    buffer.flush()
    (chunk,) = outputs.chunks
    chunk.settle("a")
    assert not acked
    assert not buffer.is_idle.is_set()
    chunk.settle("b")
    assert acked == [1, 2]
    assert buffer.memory == 0
    assert buffer.is_idle.is_set()


async def test_records_that_no_output_takes_are_acknowledged_at_once() -> None:
    outputs, acked = Outputs(), []
    buffer = InputBuffer("in", send=outputs.send, dirty=outputs.touch)
    put(buffer, batch(), lambda: acked.append(1))
    buffer.flush()
    assert acked == [1]
    assert buffer.memory == 0


async def test_a_push_that_is_filtered_away_is_acknowledged() -> None:
    acked: list[int] = []
    Ticket(lambda: acked.append(1)).release()
    assert acked == [1]


async def test_tags_do_not_share_a_chunk_and_a_full_one_goes_at_once() -> None:
    outputs = Outputs("a")
    buffer = InputBuffer("in", send=outputs.send, dirty=outputs.touch)
    put(buffer, batch(tag="x"), None)
    put(buffer, batch(tag="y"), None)
    put(buffer, batch(CHUNK_SIZE, tag="x"), None)
    assert [(chunk.tag, chunk.count) for chunk in outputs.chunks] == [("x", 2)]
    buffer.flush()
    assert [chunk.tag for chunk in outputs.chunks] == ["x", "y"]


async def test_an_input_has_room_again_when_its_chunks_are_settled() -> None:
    outputs = Outputs("a")
    buffer = InputBuffer("in", send=outputs.send, dirty=outputs.touch, limit=100)
    for _ in range(10):
        put(buffer, batch(), None)
    assert not buffer.paused
    put(buffer, batch(), None)
    assert buffer.paused
    buffer.flush()
    outputs.chunks[0].settle("a")
    assert not buffer.paused


async def test_a_durable_push_is_acknowledged_when_it_is_on_disk_and_leaves_memory_at_the_limit(tmp_path: Path) -> None:
    outputs, acked, store = Outputs("a"), [], ChunkStore(tmp_path)
    buffer = InputBuffer("in", send=outputs.send, dirty=outputs.touch, limit=15, store=store, durable=True)
    put(buffer, batch(), lambda: acked.append(1))
    assert acked == [1]
    put(buffer, batch(), lambda: acked.append(2))
    buffer.flush()
    (chunk,) = outputs.chunks
    assert not chunk.in_memory
    assert buffer.memory == 0
    assert len(chunk.load()) == 2
    assert buffer.memory == 20
    assert len(list(store.backlog())) == 1
    chunk.settle("a")
    assert buffer.memory == 0
    assert not list(store.backlog())


async def test_a_disk_that_refuses_makes_records_wait_in_memory_unacknowledged(tmp_path: Path) -> None:
    (tmp_path / "store").write_text("no folder")
    outputs, acked = Outputs("a"), []
    buffer = InputBuffer(
        "in", send=outputs.send, dirty=outputs.touch, store=ChunkStore(tmp_path / "store"), durable=True
    )
    put(buffer, batch(), lambda: acked.append(1))
    buffer.flush()
    assert not acked
    outputs.chunks[0].settle("a")
    assert acked == [1]


async def test_what_is_left_at_a_stop_is_kept_and_acknowledged_or_said_to_be_nowhere(tmp_path: Path) -> None:
    outputs, acked = Outputs("a", "b"), []
    buffer = InputBuffer("in", send=outputs.send, dirty=outputs.touch, store=ChunkStore(tmp_path))
    put(buffer, batch(), lambda: acked.append(1))
    buffer.flush()
    assert buffer.keep(outputs.chunks[0])
    assert acked == [1]
    homeless = InputBuffer("in", send=outputs.send, dirty=outputs.touch)
    put(homeless, batch(), None)
    homeless.flush()
    assert not homeless.keep(outputs.chunks[1])
    assert not outputs.chunks[1].replayable


@given(st.lists(st.tuples(st.sampled_from("xyz"), st.integers(1, 50)), max_size=40), st.randoms(use_true_random=False))
async def test_every_push_is_acknowledged_exactly_once_in_whatever_order_outputs_finish(
    pushes: list[tuple[str, int]], rng: Random
) -> None:
    outputs, acked = Outputs("a", "b"), []
    buffer = InputBuffer("in", send=outputs.send, dirty=outputs.touch)
    for number, (tag, size) in enumerate(pushes):
        put(buffer, batch(size, tag), lambda number=number: acked.append(number))
        if rng.random() < 0.3:
            buffer.flush()
    buffer.flush()
    todo = [(chunk, name) for chunk in outputs.chunks for name in outputs.names]
    rng.shuffle(todo)
    for chunk, name in todo:
        chunk.settle(name)
    assert sorted(acked) == list(range(len(pushes)))
    assert buffer.memory == 0
    assert buffer.is_idle.is_set()
