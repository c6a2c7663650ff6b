"""Format `regex`: named groups of a Ruby-style expression, found anywhere in the line, become keys."""

import logging
from collections.abc import Callable

from agent.engine.config import InvalidProperty
from agent.engine.parser import Parsed, ParserConfig, time_format
from agent.engine.parsers.types import Cast, parse_types
from agent.engine.record import Record
from agent.engine.regex import compile_regex

_log = logging.getLogger("agent.engine.parser")


class RegexParser:
    """Groups in their order in the expression; empty ones are left out unless `skip_empty_values` is off."""

    def __init__(self, name: str, config: ParserConfig, clock: Callable[[], int]) -> None:
        if not config.regex:
            raise InvalidProperty("regex", "format regex needs an expression with named groups")
        try:
            self._regex = compile_regex(config.regex)
        except ValueError as error:
            raise InvalidProperty("regex", str(error)) from None
        if not self._regex.groupindex:
            raise InvalidProperty("regex", "the expression has no named group, such as (?<level>\\w+)")
        self._name = name
        self._types: dict[str, Cast] = parse_types(config.types)
        self._skip_empty = config.skip_empty_values
        self._time = time_format(config, clock)
        self._time_key = config.time_key
        self._time_keep = config.time_keep

    def parse(self, line: bytes | str) -> Parsed | None:
        text = line if isinstance(line, str) else line.decode("utf-8", "replace")
        found = self._regex.search(text)
        if found is None:
            return None
        values: Record = found.groupdict("")
        if self._skip_empty and "" in values.values():
            values = {key: value for key, value in values.items() if value}
        when = 0
        if self._time is not None and self._time_key in values:
            written = values[self._time_key]
            parsed = self._time.parse(written)
            if parsed is None:
                _log.warning("[parser:%s] time %r does not match its format", self._name, written[:64])
            if parsed is None or not self._time_keep:
                del values[self._time_key]
            when = parsed or 0
        for key, cast in self._types.items():
            if key in values:
                values[key] = cast(values[key])
        return when, values
