"""The forward protocol of Fluentd and Fluent Bit, as a server reads it (pure): messages, and the handshake.

[tag, time, record, options]              Message
[tag, [[time, record], …], options]       Forward
[tag, packed events, options]             PackedForward, compressed with gzip where the options or the data say so
"""

import hmac
from dataclasses import dataclass
from hashlib import sha512
from typing import Any

from agent.engine.inflate import inflate
from agent.engine.msgpack import encode
from agent.engine.msgpack_reader import EventTime, decode, plain
from agent.engine.record import NANOSECONDS, Batch, Record

_GROUPS = (0xFFFFFFFF, 0xFFFFFFFE)
"""In place of seconds: where a group of records starts and ends. Its shared attributes are left out."""
_GZIP, _ZSTD = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"
NONCE_SIZE = 16


@dataclass(frozen=True, slots=True)
class Message:
    """One message: records under the sender's tag, and the chunk that it waits to hear of."""

    batch: Batch
    chunk: str | None


def read_message(data: bytes, limit: int) -> Message:
    """Raises ValueError when it is none; `limit` bounds what compressed events hold."""
    root, _ = decode(data, raw=True)
    if not isinstance(root, list) or len(root) < 2 or not isinstance(root[0], bytes):
        raise ValueError("a message is no list that begins with a tag")
    entries = root[1]
    is_single = isinstance(entries, int | float)
    options = plain(root[3 if is_single else 2]) if len(root) > (3 if is_single else 2) else None
    options = {} if options is None else options  # old Docker sends nil
    if not isinstance(options, dict):
        raise ValueError("the options of a message are no map")
    if options.get("fluent_signal", 0) != 0:
        raise ValueError("metrics and traces are not implemented by the embedded engine")
    chunk = options.get("chunk")
    if chunk is not None and not isinstance(chunk, str):
        raise ValueError("the chunk of a message is no text")
    if is_single:
        if len(root) < 3:
            raise ValueError("a message has no record")
        found = [_event([[entries, options.get("metadata", {})], plain(root[2])])]
    elif isinstance(entries, list):
        found = [_event(plain(entry)) for entry in entries]
    elif isinstance(entries, bytes):
        found = _packed(_unpacked(entries, options, limit))
    else:
        raise ValueError("a message has no events")
    events = [event for event in found if event is not None]
    metadata = [event[1] for event in events] if any(event[1] for event in events) else None
    batch = Batch(plain(root[0]), [event[0] for event in events], [event[2] for event in events], metadata, len(data))
    return Message(batch, chunk)


def _packed(data: bytes) -> list[tuple[int, Record, Record] | None]:
    found, at = [], 0
    while at < len(data):
        entry, at = decode(data, at)
        found.append(_event(entry))
    return found


def _unpacked(data: bytes, options: dict[str, Any], limit: int) -> bytes:
    compression = options.get("compressed")
    if compression == "zstd" or data.startswith(_ZSTD):
        raise ValueError("compression zstd is not implemented by the embedded engine")
    return inflate(data, limit) if compression == "gzip" or data.startswith(_GZIP) else data


def _event(entry: Any) -> tuple[int, Record, Record] | None:
    """Time, metadata and record of `[time, record]` or `[[time, metadata], record]`; None where a group is marked."""
    if not isinstance(entry, list) or len(entry) < 2 or not isinstance(entry[1], dict):
        raise ValueError("an event is no time with a record")
    when: Any = entry[0]
    metadata: Any = {}
    if isinstance(when, list) and when:
        when, metadata = when[0], when[1] if len(when) > 1 else {}
    if isinstance(when, bool) or not isinstance(when, int | float) or not isinstance(metadata, dict):
        raise ValueError("an event has no time")
    nanoseconds = int(when) if isinstance(when, EventTime) else _nanoseconds(when)
    return None if nanoseconds // NANOSECONDS in _GROUPS else (nanoseconds, metadata, entry[1])


def _nanoseconds(seconds: float) -> int:
    if not -(2**33) < seconds < 2**33:
        raise ValueError("the time of an event is out of range")
    return int(seconds * NANOSECONDS)


def acknowledgement(chunk: str) -> bytes:
    """What a sender waits for."""
    return encode({"ack": chunk})


@dataclass(frozen=True, slots=True, kw_only=True)
class Handshake:
    """A shared key, and users with their passwords, if any; `nonce` and `salt` are random and of one connection."""

    shared_key: str
    hostname: str
    users: tuple[tuple[str, str], ...]
    nonce: bytes
    salt: bytes

    def helo(self) -> bytes:
        """What is said first. Salt is for those that have to name a user."""
        auth = _text(self.salt) if self.users else b"\xa0"
        return b"\x92\xa4HELO\x83\xa5nonce" + _text(self.nonce) + b"\xa4auth" + auth + b"\xa9keepalive\xc3"

    def answer(self, ping: bytes) -> tuple[bytes, str]:
        """The PONG for a PING, and why the client is refused, if it is. Raises ValueError when it is no PING."""
        root, _ = decode(ping, raw=True)
        if not (isinstance(root, list) and len(root) == 6 and root[0] == b"PING"):
            raise ValueError("the first message is no PING")
        if not all(isinstance(word, bytes) for word in root):
            raise ValueError("a PING is made of texts")
        _, hostname, key_salt, digest, user, password_digest = root
        why = ""
        if not hmac.compare_digest(self._digest(key_salt, hostname), digest):
            why = "shared_key mismatch"
        elif self.users and not self._knows(user, password_digest):
            why = "username/password mismatch"
        if why:
            return encode(["PONG", False, why, "", ""]), why
        own = self._digest(key_salt, self.hostname.encode())
        return encode(["PONG", True, "", self.hostname, own.decode()]), ""

    def _digest(self, key_salt: bytes, hostname: bytes) -> bytes:
        return sha512(key_salt + hostname + self.nonce + self.shared_key.encode()).hexdigest().encode()

    def _knows(self, user: bytes, digest: bytes) -> bool:
        known = False
        for name, password in self.users:
            own = sha512(self.salt + name.encode() + password.encode()).hexdigest().encode()
            known |= name.encode() == user and hmac.compare_digest(own, digest)
        return known


def _text(data: bytes) -> bytes:
    """Bytes of fewer than 32 as a text, though they may not be UTF-8."""
    return bytes((0xA0 | len(data),)) + data
