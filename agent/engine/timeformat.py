"""Reading times as Fluent Bit's parsers do: `time_format` with `%L` and zones, `time_offset` (pure; the clock is an
argument).

A format is turned into one regular expression. What the expression matched without the fraction is looked up in a small
table of seconds, because consecutive log lines mostly share theirs.
"""

import re
from calendar import timegm
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone, tzinfo

from agent.engine.record import NANOSECONDS

_MONTHS = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
]
_DAYS = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"]
_MONTH_NUMBER = {name[:length].lower(): i + 1 for i, name in enumerate(_MONTHS) for length in (3, len(name))}

_EXPANDED = {
    "D": "%m/%d/%y",
    "F": "%Y-%m-%d",
    "R": "%H:%M",
    "T": "%H:%M:%S",
    "r": "%I:%M:%S %p",
    "c": "%a %b %e %H:%M:%S %Y",
    "x": "%m/%d/%y",
    "X": "%H:%M:%S",
}
_FIELDS = {
    "Y": ("Y", r"\d{1,4}"),
    "y": ("y", r"\d{1,2}"),
    "C": ("C", r"\d{1,2}"),
    "m": ("m", r"\d{1,2}"),
    "d": ("d", r"\d{1,2}"),
    "e": ("d", r"\d{1,2}"),
    "H": ("H", r"\d{1,2}"),
    "k": ("H", r"\d{1,2}"),
    "I": ("I", r"\d{1,2}"),
    "l": ("I", r"\d{1,2}"),
    "M": ("M", r"\d{1,2}"),
    "S": ("S", r"\d{1,2}"),
    "j": ("j", r"\d{1,3}"),
    "s": ("s", r"-?\d+"),
    "L": ("L", r"\d{1,9}"),
    "b": ("b", "|".join(_MONTHS) + "|" + "|".join(m[:3] for m in _MONTHS)),
    "p": ("p", "[AaPp][Mm]"),
    "z": ("z", r"Z|UTC|GMT|[+-]\d{2}:\d{2}|[+-]\d{4}|[+-]\d{2}"),
}
_FIELDS["B"] = _FIELDS["h"] = _FIELDS["b"]
_IGNORED = {"a": "|".join(_DAYS) + "|" + "|".join(d[:3] for d in _DAYS), "Z": "[A-Za-z]+", "u": r"\d", "w": r"\d"}
_IGNORED["A"] = _IGNORED["a"]
_SPACE = {"n": r"\s*", "t": r"\s*", "%": "%"}

_KNOWN_SECONDS = 4096


@dataclass(frozen=True, slots=True)
class Zone:
    """The zone of times that have none: a fixed offset, a named zone, or the host's own (`local`)."""

    offset: int = 0
    named: tzinfo | None = None
    local: bool = False

    def of(self) -> tzinfo | None:
        """For `datetime.replace`; None means the host's zone."""
        if self.local:
            return None
        return self.named or timezone(timedelta(seconds=self.offset))


def parse_offset(text: str) -> int:
    """Seconds east of UTC for `Z`, `+0200`, `+02:00` or `+02`. Raises ValueError."""
    if text in ("Z", "UTC", "GMT"):
        return 0
    found = re.fullmatch(r"([+-])(\d{2}):?(\d{2})?", text)
    if not found or int(found[3] or 0) > 59:
        raise ValueError(f"expected an offset such as +0200, not {text!r}")
    seconds = int(found[2]) * 3600 + int(found[3] or 0) * 60
    return -seconds if found[1] == "-" else seconds


class TimeFormat:
    """One `time_format`, compiled. Raises ValueError when it has a directive that this engine does not know."""

    def __init__(self, text: str, *, zone: Zone, clock: Callable[[], int]) -> None:
        self._zone = zone
        self._clock = clock
        self._seconds: dict[str, int] = {}
        seen: set[str] = set()
        self._regex = re.compile(_pattern(text, seen), re.IGNORECASE | re.ASCII)
        self._has_fraction = "L" in seen
        self._has_date = bool(seen & {"Y", "y", "C", "s"})

    def parse(self, text: str) -> int | None:
        """Nanoseconds since the epoch, or None when `text` does not begin with such a time; more may follow it."""
        if not self._has_fraction and text in self._seconds:
            return self._seconds[text] * NANOSECONDS
        found = self._regex.match(text)
        if found is None:
            return None
        nanoseconds, key = 0, found[0]
        if self._has_fraction:
            start, end = found.span("L")
            nanoseconds = int(float("0." + text[start:end]) * NANOSECONDS)  # Fluent Bit goes through a double, too
            key = text[:start] + text[end : found.end()]
        seconds = self._seconds.get(key)
        if seconds is None:
            seconds = self._resolve(found.groupdict())
            if seconds is None:
                return None
            if self._has_date:  # else it depends on today's date
                if len(self._seconds) >= _KNOWN_SECONDS:
                    self._seconds.clear()
                self._seconds[key] = seconds
        return seconds * NANOSECONDS + nanoseconds

    def _resolve(self, part: dict[str, str | None]) -> int | None:
        if part.get("s"):
            return int(part["s"] or 0)
        today = datetime.fromtimestamp(self._clock() // NANOSECONDS, self._zone.of())
        year = _year(part, today.year)
        if month := part.get("b"):
            month_number = _MONTH_NUMBER[month.lower()]
        else:
            month_number = int(part.get("m") or (1 if self._has_date else today.month))
        day = int(part.get("d") or (1 if self._has_date else today.day))
        hour = int(part.get("H") or 0)
        if part.get("I"):
            hour = int(part["I"] or 0) % 12 + (12 if (part.get("p") or "").lower() == "pm" else 0)
        minute, second = int(part.get("M") or 0), int(part.get("S") or 0)
        try:
            when = datetime(year, month_number, day, hour, minute, min(second, 59))
            if part.get("j"):
                when = when.replace(month=1, day=1) + timedelta(days=int(part["j"] or 1) - 1)
            leap = second - min(second, 59)
            if part.get("z"):
                return timegm(when.timetuple()) - parse_offset((part["z"] or "").upper()) + leap
            return int(when.replace(tzinfo=self._zone.of()).timestamp()) + leap
        except (ValueError, OverflowError):
            return None


def _year(part: dict[str, str | None], this_year: int) -> int:
    if part.get("Y"):
        return int(part["Y"] or 0)
    if part.get("y"):
        short = int(part["y"] or 0)
        century = int(part["C"] or 0) * 100 if part.get("C") else 1900 if short >= 69 else 2000
        return century + short
    return this_year


def _pattern(text: str, seen: set[str]) -> str:
    out, at = [], 0
    while at < len(text):
        char = text[at]
        if char.isspace():
            out.append(r"\s*")
        elif char != "%":
            out.append(re.escape(char))
        else:
            at += 1
            directive = text[at : at + 1]
            out.append(_directive(directive, seen))
        at += 1
    return "".join(out)


def _directive(directive: str, seen: set[str]) -> str:
    if directive in _EXPANDED:
        return _pattern(_EXPANDED[directive], seen)
    if directive in _SPACE:
        return _SPACE[directive]
    if directive in _IGNORED:
        return f"(?:{_IGNORED[directive]})"
    if directive not in _FIELDS:
        raise ValueError(f"directive '%{directive}' is not supported")
    name, pattern = _FIELDS[directive]
    if name in seen:
        return f"(?:{pattern})"
    seen.add(name)
    return f"(?P<{name}>{pattern})"
