"""What a parser is: it turns one line into a time and a record.

The formats are in `agent.engine.parsers`, one file each; what they have in common is here.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, TypeAlias
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from agent.engine.config import BOOLEAN, STRING, InvalidProperty, option
from agent.engine.record import Record
from agent.engine.timeformat import TimeFormat, Zone, parse_offset

Parsed: TypeAlias = tuple[int, Record]


class Parser(Protocol):
    """Turns a line into (nanoseconds since the epoch, or 0 where the line has no time; record)."""

    def parse(self, line: bytes | str) -> Parsed | None:
        """None when the line is not of this parser's format; never raises."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ParserConfig:
    """A `[PARSER]` section."""

    format: str = option(STRING, required=True, help="json, regex, logfmt or ltsv")
    regex: str | None = option(STRING, help="for format regex: named groups become the record's keys")
    time_key: str = option(STRING, "time", help="key that holds the time")
    time_format: str | None = option(STRING, help="how the time is written; without it the time is not looked for")
    time_keep: bool = option(BOOLEAN, False, help="whether the time stays in the record")
    time_offset: str | None = option(STRING, help="offset of times that have none, such as +0200")
    time_zone: str | None = option(STRING, help="named zone of times that have none")
    time_system_timezone: bool = option(BOOLEAN, False, help="take the host's zone for times that have none")
    time_strict: bool = option(BOOLEAN, True, help="taken for compatibility; a time that does not match is never taken")
    skip_empty_values: bool = option(BOOLEAN, True, help="for format regex: leave out groups that matched nothing")
    logfmt_no_bare_keys: bool = option(BOOLEAN, False, help="for format logfmt: refuse lines with keys without a value")
    types: str | None = option(STRING, help="types of values, such as 'code:integer took:float'")
    decode: tuple[tuple[str, str], ...] = option(
        STRING, names=("decode_field", "decode_field_as"), help="a decoder, a key, and try_next, do_next or nothing"
    )


def time_format(config: ParserConfig, clock: Callable[[], int]) -> TimeFormat | None:
    """The compiled time format of a parser, or None when it looks for no time. Raises InvalidProperty."""
    if config.time_zone and (config.time_format is None or config.time_system_timezone or config.time_offset):
        why = "needs 'time_format', and goes with neither 'time_offset' nor 'time_system_timezone'"
        raise InvalidProperty("time_zone", why)
    if config.time_format is None:
        return None
    try:
        offset = parse_offset(config.time_offset) if config.time_offset else 0
    except ValueError as error:
        raise InvalidProperty("time_offset", str(error)) from None
    try:
        named = ZoneInfo(config.time_zone) if config.time_zone else None
    except (ZoneInfoNotFoundError, ValueError):
        raise InvalidProperty("time_zone", f"this host knows no zone {config.time_zone!r}") from None
    try:
        return TimeFormat(config.time_format, zone=Zone(offset, named, config.time_system_timezone), clock=clock)
    except ValueError as error:
        raise InvalidProperty("time_format", str(error)) from None


Make: TypeAlias = Callable[[str, ParserConfig, Callable[[], int]], Parser]
