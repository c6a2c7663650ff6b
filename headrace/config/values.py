"""What a property's text means: booleans, sizes and times as Fluent Bit writes them.

Where Fluent Bit takes nonsense for zero without a word, these raise `ValueError` with a message that fits after the
name of the property: `rate 'fast' is not …`.
"""

import re

from headrace.config.model import Value

_TRUE = frozenset({"true", "on", "yes"})
_FALSE = frozenset({"false", "off", "no"})
_SIZE = re.compile(r"([+-]?[0-9]{1,18}(?:\.[0-9]{1,18})?)(?:([kmg])b?)?", re.IGNORECASE)
_TIME = re.compile(r"([+-]?[0-9]{1,18})([smhd]?)", re.IGNORECASE)
_SIZE_UNITS = {"": 1, "k": 1_000, "m": 1_000_000, "g": 1_000_000_000}
_TIME_UNITS = {"": 1, "s": 1, "m": 60, "h": 3_600, "d": 86_400}


def parse_bool(value: Value) -> bool:
    """`true`, `on`, `yes` or `false`, `off`, `no`, in any case."""
    if isinstance(value, bool):
        return value
    text = str(value).lower()
    if text in _TRUE or text in _FALSE:
        return text in _TRUE
    raise ValueError(f"{value!r} is not a boolean; use true or false (or on, off, yes, no)")


def parse_size(value: Value) -> int:
    """Bytes: `4096`, `32k`, `5M`, `1.5GB`. A unit is a power of 1000, not of 1024; `false` is 0."""
    text = str(value).strip()
    if text.lower() == "false":
        return 0
    match = _SIZE.fullmatch(text)
    if match is None:
        raise ValueError(f"{value!r} is not a size; use a number with an optional unit: 4096, 32k, 5M, 1G")
    return int(float(match[1]) * _SIZE_UNITS[(match[2] or "").lower()])


def parse_time(value: Value) -> int:
    """Seconds: `90`, `30s`, `5m`, `1h`, `1d`."""
    match = _TIME.fullmatch(str(value).strip())
    if match is None:
        raise ValueError(f"{value!r} is not a time; use a whole number with an optional unit: 90, 30s, 5m, 1h, 1d")
    return int(match[1]) * _TIME_UNITS[match[2].lower()]
