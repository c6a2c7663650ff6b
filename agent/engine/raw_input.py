"""What the inputs `tcp` and `udp` have in common: their properties, and how raw data becomes records."""

import re
from dataclasses import dataclass
from typing import Any, Literal

from agent.engine.config import INTEGER, STRING, InvalidProperty, Kind, option
from agent.engine.listening import Listener, Listening, ListenOptions
from agent.engine.payload import JsonSplitter, Splitter, TextSplitter
from agent.engine.plugin import Context
from agent.engine.record import Batch
from agent.engine.sockets import Address

DEFAULT_SIZE = 32768
_KILOBYTES = re.compile(r"([0-9]{1,7})\s*(?:kb?)?", re.IGNORECASE)


def _kilobytes(text: str) -> int:
    found = _KILOBYTES.fullmatch(text.strip())
    if found is None or not int(found[1]):
        raise ValueError(f"{text!r} is not a number of kilobytes; use one such as 32")
    return int(found[1]) * 1024


def _separator(text: str) -> bytes:
    try:
        plain = text.encode("latin-1", "backslashreplace").decode("unicode_escape").encode()
    except UnicodeError:
        raise ValueError(f"{text!r} has an escape that is not known") from None
    if not plain:
        raise ValueError("expected at least one character")
    return plain


KILOBYTES = Kind("string", _kilobytes)
SEPARATOR = Kind("string", _separator)


@dataclass(frozen=True, slots=True, kw_only=True)
class RawOptions:
    """How what arrives is read."""

    port: int = option(INTEGER, 5170, help="port to listen on")
    format: str = option(STRING, "json", choices=("json", "none"), help="JSON values, or text between separators")
    separator: bytes = option(SEPARATOR, b"\n", help="what ends a text; may have escapes such as \\t")
    parser: str | None = option(STRING, help="parser for each text; one that it does not take stays under 'log'")
    chunk_size: int = option(KILOBYTES, DEFAULT_SIZE, help="kilobytes; the buffer has as many unless told otherwise")
    buffer_size: int | None = option(KILOBYTES, help="kilobytes that a record may have")
    source_address_key: str | None = option(
        STRING, help="key for the sender's address; with format json or a parser, as in Fluent Bit"
    )

    @property
    def limit(self) -> int:
        """Bytes that a record may have."""
        return self.buffer_size or self.chunk_size


class RawRecords:
    """Makes batches of what one instance receives."""

    def __init__(self, config: RawOptions, context: Context) -> None:
        self._config = config
        self._context = context
        self._parser = context.parser("parser", config.parser) if config.parser else None
        self._json = config.format == "json" and self._parser is None
        if self._parser is not None and config.format == "json":
            context.log.info("'parser' needs text, so the format is none")

    def splitter(self) -> Splitter:
        """For one connection, or one datagram."""
        return JsonSplitter() if self._json else TextSplitter(self._config.separator)

    def add(self, batch: Batch, values: list[Any], peer: str) -> None:
        """Put what a splitter found into the batch."""
        now, key = self._context.clock(), self._config.source_address_key
        for value in values:
            when, record = self._value(value)
            if key is not None and (self._json or self._parser is not None):
                record[key] = peer
            batch.times.append(when or now)
            batch.records.append(record)

    def _value(self, value: Any) -> tuple[int, dict[str, Any]]:
        if self._json:
            return 0, value if isinstance(value, dict) else {"msg": value}
        parsed = self._parser.parse(value) if self._parser is not None else None
        return parsed or (0, {"log": value.decode("utf-8", "replace")})


class RawInput(Listening):
    """One address where raw data arrives."""

    def __init__(
        self, kind: Literal["stream", "datagram"], options: ListenOptions, raw: RawOptions, context: Context
    ) -> None:
        """Raises InvalidProperty, also when a record may have less than one chunk."""
        if raw.limit < raw.chunk_size:
            raise InvalidProperty("buffer_size", "is below 'chunk_size'")
        self.context = context
        self.limit = raw.limit
        self.records = RawRecords(raw, context)
        self.listener = Listener(Address(kind=kind, host=options.listen, port=raw.port), options, context)
