"""Values in an engine's log: overwritten where they stand, in whatever parts they come, and nothing else changes."""

from __future__ import annotations

import asyncio
import base64
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from agent.runtimes import child_log, log_masking
from agent.runtimes.log_masking import LogMasking, Stream
from headrace.masking import SHORTEST, Mask
from tests.processes import eventually

VALUE, OTHER = "kingfisher-41", "dipper-42"

# Few letters, so that values overlap, repeat and begin in one another.
LETTERS = st.binary().map(lambda data: bytes(b"ab*"[byte % 3] for byte in data))
VALUES = st.lists(LETTERS.filter(lambda value: len(value) >= SHORTEST), max_size=3)


def masked(chunks: list[bytes], values: list[bytes]) -> bytes:
    stream, out = Stream(), bytearray()
    for chunk in chunks:
        out += chunk
        found, stream = stream.feed(chunk, values)
        for start, end in found:
            out[start:end] = b"*" * (end - start)
    assert stream.position == len(out)
    return bytes(out)


@given(st.lists(LETTERS, max_size=8), VALUES)
@example([b"xxaba", b"babxx"], [b"abab", b"babab"])
@example([b"aaaa", b"a", b"", b"a"], [b"aaaa"])
def test_a_value_is_found_in_whatever_parts_it_comes(chunks: list[bytes], values: list[bytes]) -> None:
    text = b"".join(chunks)
    in_value = {
        place
        for value in values
        for start in range(len(text))
        if text.startswith(value, start)
        for place in range(start, start + len(value))
    }
    expected = bytes(42 if place in in_value else byte for place, byte in enumerate(text))
    assert masked(chunks, values) == expected == masked([text], values)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "engine.log"


@pytest.fixture
def engine(path: Path) -> Iterator[int]:
    """The descriptor that an engine writes its log by."""
    descriptor = child_log.open_for(path)
    yield descriptor
    os.close(descriptor)


def masking_of(path: Path, *values: str) -> LogMasking:
    mask = Mask(values)
    return LogMasking(path, lambda: mask)


async def test_it_is_found_in_the_ways_that_logs_write_it(path: Path, engine: int) -> None:
    value = 'say "héron" 41'
    forms = [
        value,
        'say \\"h\\u00e9ron\\" 41',
        "say%20%22h%C3%A9ron%22%2041",
        base64.b64encode(value.encode()).decode(),
    ]
    text = "".join(f"[{form}]\n" for form in forms).encode()
    os.write(engine, text)
    masking = masking_of(path, value)
    masking.start()
    masking.stop()
    assert path.read_bytes() == b"".join(b"[%s]\n" % (b"*" * len(form.encode())) for form in forms)


async def test_another_process_writes_on_while_what_it_wrote_is_masked(
    path: Path, engine: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_masking, "EVERY_S", 0.01)
    masking = masking_of(path, VALUE)
    masking.start()
    # Unbuffered, so that values come in two parts, and the agent looks in between.
    code = f"""
import os
for n in range(3000):
    os.write(1, b"%d {VALUE[:5]}" % n)
    os.write(1, b"{VALUE[5:]}.\\n")
"""
    try:
        process = await asyncio.create_subprocess_exec(sys.executable, "-c", code, stdout=engine)
        assert await process.wait() == 0
        await eventually(lambda: VALUE.encode() not in path.read_bytes())
    finally:
        masking.stop()
    stars = "*" * len(VALUE)
    assert path.read_text() == "".join(f"{n} {stars}.\n" for n in range(3000))


async def test_what_was_written_while_nobody_looked_is_masked_in_both_files(path: Path, engine: int) -> None:
    child_log.older(path).write_text(f"older {VALUE}\n")
    os.write(engine, f"newer {OTHER}\n".encode())
    masking = masking_of(path, VALUE, OTHER)
    masking.start()
    masking.stop()
    assert child_log.older(path).read_text() == f"older {'*' * len(VALUE)}\n"
    assert path.read_text() == f"newer {'*' * len(OTHER)}\n"


async def test_a_log_that_is_cut_takes_no_value_into_the_older_file(path: Path, engine: int) -> None:
    masking = masking_of(path, VALUE)
    masking.start()
    os.write(engine, f"one {VALUE}\n".encode())
    masking.trim(10)
    assert child_log.older(path).read_text() == f"one {'*' * len(VALUE)}\n"
    os.write(engine, f"{VALUE} two\n".encode())
    masking.stop()
    assert path.read_text() == f"{'*' * len(VALUE)} two\n"
    assert child_log.older(path).read_text() == f"one {'*' * len(VALUE)}\n"


async def test_much_is_looked_at_in_parts(path: Path, engine: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_masking, "_CHUNK", 7)
    os.write(engine, f"{VALUE}, ".encode() * 20)
    masking = masking_of(path, VALUE)
    masking.start()
    assert VALUE.encode() in path.read_bytes()
    await eventually(lambda: VALUE.encode() not in path.read_bytes())
    os.write(engine, VALUE.encode() * 2)
    masking.stop()
    assert set(path.read_text()) == set("*, ")


async def test_without_secrets_no_file_is_touched(path: Path, engine: int) -> None:
    os.write(engine, b"a line\n")
    before = path.stat().st_mtime_ns
    for masking in (masking_of(path), masking_of(path, VALUE)):
        masking.start()
        masking.stop()
    never = masking_of(path, "a line")
    never.stop()
    assert path.read_bytes() == b"a line\n"
    assert path.stat().st_mtime_ns == before


async def test_a_file_that_cannot_be_written_is_tried_again(
    path: Path, engine: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    os.write(engine, VALUE.encode())
    masking = masking_of(path, VALUE)
    with monkeypatch.context() as broken:

        def full(*_: object) -> int:
            raise OSError(28, "No space left on device")

        broken.setattr(os, "pwrite", full)
        masking.start()
        assert path.read_text() == VALUE
    masking.stop()
    assert set(path.read_text()) == {"*"}
