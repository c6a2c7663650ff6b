"""Format `ltsv`: labelled values between tabs, `label:value`."""

import re
from collections.abc import Callable

from agent.engine.parser import Parsed, ParserConfig, time_format
from agent.engine.parsers.types import Cast, parse_types
from agent.engine.record import Record

_LABEL = re.compile(r"[0-9A-Za-z_.\-]+")


class LtsvParser:
    """Reads up to the first piece that has no label; a line without any is not LTSV."""

    def __init__(self, name: str, config: ParserConfig, clock: Callable[[], int]) -> None:
        self._name = name
        self._types: dict[str, Cast] = parse_types(config.types)
        self._time = time_format(config, clock)
        self._time_key = config.time_key
        self._time_keep = config.time_keep

    def parse(self, line: bytes | str) -> Parsed | None:
        text = line if isinstance(line, str) else line.decode("utf-8", "replace")
        record: Record = {}
        when = 0
        for piece in text.rstrip("\r\n").split("\t"):
            label, colon, value = piece.partition(":")
            if not colon or not _LABEL.fullmatch(label):
                break
            if self._time is not None and label == self._time_key and value:
                parsed = self._time.parse(value)
                if parsed is None:
                    return None
                when = parsed
                if not self._time_keep:
                    continue
            cast = self._types.get(label)
            record[label] = cast(value) if cast else value
        return (when, record) if record or when else None
