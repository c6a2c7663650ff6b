"""Format `json`: the line is one JSON object."""

import logging
from collections.abc import Callable

import orjson

from agent.engine.parser import Parsed, ParserConfig, time_format
from agent.engine.parsers.decoders import decoder

_log = logging.getLogger("agent.engine.parser")


class JsonParser:
    """Keys and values as written. A time that does not match the format is reported and stays in the record."""

    def __init__(self, name: str, config: ParserConfig, clock: Callable[[], int]) -> None:
        self._name = name
        self._decode = decoder(config.decode)
        self._time = time_format(config, clock)
        self._time_key = config.time_key
        self._time_keep = config.time_keep

    def parse(self, line: bytes | str) -> Parsed | None:
        try:
            record = orjson.loads(line)
        except orjson.JSONDecodeError:
            record = _mended(line)
        if type(record) is not dict:
            return None
        if self._decode is not None:
            record = self._decode(record)
        if self._time is None:
            return 0, record
        text = record.get(self._time_key)
        if type(text) is not str:
            return 0, record
        when = self._time.parse(text)
        if when is None:
            _log.warning("[parser:%s] time %r does not match its format", self._name, text[:64])
            return 0, record
        if not self._time_keep:
            del record[self._time_key]
        return when, record


def _mended(line: bytes | str) -> object:
    """The same line with bytes that are not UTF-8 replaced; None when it is no JSON either way."""
    if isinstance(line, str):
        return None
    text = line.decode("utf-8", "replace")
    if "\ufffd" not in text:
        return None
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return None
