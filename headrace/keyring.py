"""Keys that keep secrets closed at rest, and the file that they come from; the same on both sides.

AES-256-GCM with a fresh nonce for each value. What a value is about (its name, its version) is authenticated along with
it, so that no value can be put in another's place. A key file has one key a line, 32 bytes in base64; the first one
closes, every one opens, which is how keys are changed: a new one is put in front, what is there is closed anew, the old
one is taken out. Nothing here prints a value or a key. `cryptography` is imported when the first value is closed.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import os
import stat
from collections.abc import Sequence
from pathlib import Path

from headrace.errors import ConflictError, InvalidError

_FORM = b"\x01"
_KEY, _ID, _NONCE = 32, 4, 12


class Keyring:
    """Some keys, the newest first."""

    def __init__(self, keys: Sequence[bytes]) -> None:
        self._keys = {_id(key): key for key in keys}
        self._first = keys[0]

    @classmethod
    def fresh(cls) -> Keyring:
        """A key that is in no file."""
        return cls([os.urandom(_KEY)])

    @property
    def key_id(self) -> str:
        """Of the key that closes; it tells nothing of the key."""
        return _id(self._first).hex()

    @property
    def key_ids(self) -> tuple[str, ...]:
        """Of all."""
        return tuple(identifier.hex() for identifier in self._keys)

    def close(self, value: bytes, *, about: str) -> bytes:
        """The value, unreadable to whoever lacks the key."""
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        nonce = os.urandom(_NONCE)
        return _FORM + _id(self._first) + nonce + AESGCM(self._first).encrypt(nonce, value, about.encode())

    def open(self, closed: bytes, *, about: str) -> bytes:
        """The value again. Raises ConflictError that says which key is missing, or that the value is damaged."""
        from cryptography.exceptions import InvalidTag
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        key = self._keys.get(closed[1 : 1 + _ID])
        if key is None:
            raise ConflictError(f"it is encrypted with key {key_id_of(closed)}, which is not in the key file")
        nonce, rest = closed[1 + _ID : 1 + _ID + _NONCE], closed[1 + _ID + _NONCE :]
        try:
            return AESGCM(key).decrypt(nonce, rest, about.encode())
        except (InvalidTag, ValueError) as error:
            raise ConflictError("it is damaged, or was put in the place of another value") from error

    def mark(self, value: bytes, *, about: str) -> str:
        """Equal for equal values, and of no use to whoever lacks the key."""
        return hmac.digest(self._first, about.encode() + b"\0" + value, "sha256").hex()[:32]


def key_id_of(closed: bytes) -> str:
    """Which key a value was closed with."""
    return closed[1 : 1 + _ID].hex()


class KeyFile:
    """The keys in one file, read again when the file is another; not thread-safe."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._read: tuple[object, Keyring] | None = None

    def ring(self) -> Keyring | None:
        """None when there is no such file. Raises InvalidError for one that holds no keys, or that others may read."""
        try:
            found = self.path.stat()
            seen = (found.st_ino, found.st_mtime_ns, found.st_size)
            if self._read is None or self._read[0] != seen:
                text = self.path.read_text()
                if stat.S_IMODE(found.st_mode) & 0o007:
                    raise InvalidError(f"key file {self.path} can be read by everybody; run chmod 600 {self.path}")
                self._read = (seen, Keyring(_keys(text, self.path)))
        except FileNotFoundError:
            return None
        except (OSError, UnicodeDecodeError) as error:
            raise InvalidError(f"key file {self.path} cannot be read: {error}") from error
        return self._read[1]

    def create(self) -> Keyring:
        """A fresh key, readable by its owner only; where somebody was faster, theirs. Raises OSError, InvalidError."""
        text = base64.b64encode(os.urandom(_KEY)) + b"\n"
        aside = self.path.with_name(f".{self.path.name}.{os.getpid()}")
        descriptor = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            try:
                os.link(aside, self.path)
            except FileExistsError:
                pass
        finally:
            aside.unlink()
        ring = self.ring()
        if ring is None:
            raise InvalidError(f"key file {self.path} was removed as soon as it was made")
        return ring

    def remove(self) -> None:
        """What was closed with it stays closed for ever."""
        self.path.unlink(missing_ok=True)
        self._read = None


def _keys(text: str, path: Path) -> list[bytes]:
    keys = []
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        try:
            key = base64.b64decode(line.strip(), validate=True)
        except binascii.Error:
            key = b""
        if len(key) != _KEY:
            raise InvalidError(f"key file {path}, line {number}: a key is {_KEY} bytes in base64")
        keys.append(key)
    if not keys:
        raise InvalidError(f"key file {path} holds no key; `openssl rand -base64 {_KEY}` makes one")
    return keys


def _id(key: bytes) -> bytes:
    return hashlib.sha256(b"headrace key " + key).digest()[:_ID]
