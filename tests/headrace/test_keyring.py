"""What is closed with a key: opened by that key alone, in its own place alone; and the files that keys come from."""

from __future__ import annotations

import base64
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.errors import ConflictError, InvalidError
from headrace.keyring import KeyFile, Keyring, key_id_of

ONE, TWO = bytes(range(32)), bytes(range(1, 33))


def line(key: bytes) -> str:
    return base64.b64encode(key).decode() + "\n"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "keys"


def write(path: Path, text: str, mode: int = 0o600) -> None:
    path.write_text(text)
    path.chmod(mode)


@given(st.binary(max_size=200), st.text(max_size=20))
def test_a_value_comes_back_and_is_nowhere_in_what_is_kept(value: bytes, about: str) -> None:
    ring = Keyring([ONE])
    closed = ring.close(value, about=about)
    assert ring.open(closed, about=about) == value
    assert len(value) < 4 or value not in closed
    assert closed != ring.close(value, about=about)


@given(st.binary(min_size=1, max_size=50), st.data())
def test_a_changed_byte_is_noticed(value: bytes, data: st.DataObject) -> None:
    ring = Keyring([ONE])
    closed = bytearray(ring.close(value, about="a"))
    closed[data.draw(st.integers(1, len(closed) - 1))] ^= data.draw(st.integers(1, 255))
    with pytest.raises(ConflictError):
        ring.open(bytes(closed), about="a")


def test_a_value_in_the_place_of_another_is_noticed() -> None:
    ring = Keyring([ONE])
    with pytest.raises(ConflictError, match="put in the place of another"):
        ring.open(ring.close(b"value", about="a/1"), about="a/2")


@pytest.mark.parametrize("closed", [b"", b"\x01", b"\x01" + bytes(16)])
def test_what_was_never_closed_is_no_crash(closed: bytes) -> None:
    with pytest.raises(ConflictError):
        Keyring([ONE]).open(closed, about="a")


def test_the_first_key_closes_and_every_key_opens() -> None:
    old, both, new = Keyring([ONE]), Keyring([TWO, ONE]), Keyring([TWO])
    closed = old.close(b"value", about="a")
    assert both.open(closed, about="a") == b"value"
    assert key_id_of(both.close(b"value", about="a")) == both.key_id == new.key_id != old.key_id
    with pytest.raises(ConflictError, match=f"key {old.key_id}, which is not in the key file"):
        new.open(closed, about="a")


def test_a_mark_tells_values_apart_and_needs_the_key() -> None:
    assert Keyring([ONE]).mark(b"a", about="x") == Keyring([ONE]).mark(b"a", about="x")
    others = (
        Keyring([ONE]).mark(b"b", about="x"),
        Keyring([ONE]).mark(b"a", about="y"),
        Keyring([TWO]).mark(b"a", about="x"),
    )
    assert Keyring([ONE]).mark(b"a", about="x") not in others


def test_a_key_is_made_once_for_its_owner_alone(path: Path) -> None:
    keys = KeyFile(path)
    assert keys.ring() is None
    old = os.umask(0)
    try:
        made = keys.create()
    finally:
        os.umask(old)
    assert path.stat().st_mode & 0o777 == 0o600
    assert [each.name for each in path.parent.iterdir()] == ["keys"]
    # Who comes second has the same one.
    assert KeyFile(path).create().key_id == made.key_id


def test_a_file_that_is_another_is_read_again(path: Path) -> None:
    keys = KeyFile(path)
    write(path, line(ONE))
    first = keys.ring()
    assert keys.ring() is first
    write(path, f"# since May\n{line(TWO)}\n{line(ONE)}")
    second = keys.ring()
    assert first is not None
    assert second is not None
    assert second.key_ids[-1] == first.key_id
    assert len(second.key_ids) == 2


@pytest.mark.parametrize(
    ("text", "mode", "message"),
    [
        ("", 0o600, "holds no key"),
        ("not a key\n", 0o600, "line 1: a key is 32 bytes in base64"),
        (line(ONE) + line(ONE[:16]), 0o600, "line 2: a key is 32 bytes"),
        (line(ONE), 0o644, "can be read by everybody; run chmod 600"),
    ],
)
def test_a_file_that_holds_no_keys_or_is_open_to_all_is_refused(path: Path, text: str, mode: int, message: str) -> None:
    write(path, text, mode)
    with pytest.raises(InvalidError, match=message):
        KeyFile(path).ring()
