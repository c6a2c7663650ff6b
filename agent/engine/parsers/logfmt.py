"""Format `logfmt`: `key=value key="quoted value" bare`."""

import re
from collections.abc import Callable

from agent.engine.parser import Parsed, ParserConfig, time_format
from agent.engine.parsers.types import Cast, parse_types
from agent.engine.record import Record

_PAIR = re.compile(r'([^\x00-\x20="]+)(=(?:"((?:[^"\\]|\\.)*)"?|([^\x00-\x20="]*))?)?', re.DOTALL)
_ESCAPE = re.compile(r"\\(?:u([0-9a-fA-F]{4})|(.))", re.DOTALL)
_ESCAPED = {"n": "\n", "t": "\t", "r": "\r", "b": "\b", "f": "\f"}


class LogfmtParser:
    """A key without a value is true (an empty text where there are types); a line without any key is not logfmt."""

    def __init__(self, name: str, config: ParserConfig, clock: Callable[[], int]) -> None:
        self._name = name
        self._types: dict[str, Cast] = parse_types(config.types)
        self._no_bare_keys = config.logfmt_no_bare_keys
        self._time = time_format(config, clock)
        self._time_key = config.time_key
        self._time_keep = config.time_keep

    def parse(self, line: bytes | str) -> Parsed | None:
        text = line if isinstance(line, str) else line.decode("utf-8", "replace")
        record: Record = {}
        when = 0
        for found in _PAIR.finditer(text):
            key, assigned, quoted, plain = found.groups()
            if self._no_bare_keys and not assigned:
                return None
            value = quoted if quoted is not None else plain or ""
            if self._time is not None and key == self._time_key and value:
                parsed = self._time.parse(value)
                if parsed is None:
                    return None
                when = parsed
                if not self._time_keep:
                    continue
            if key in self._types:
                record[key] = self._types[key](value)
            elif value or quoted is not None:
                record[key] = _unescape(value) if quoted is not None and "\\" in value else value
            else:
                record[key] = "" if self._types else True  # as Fluent Bit has it
        return (when, record) if record or when else None


def _unescape(text: str) -> str:
    return _ESCAPE.sub(lambda found: chr(int(found[1], 16)) if found[1] else _ESCAPED.get(found[2], found[2]), text)
