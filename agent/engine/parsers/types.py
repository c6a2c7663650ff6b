"""The `types` of a parser: what the text of a key is turned into (pure).

As C's atoll, strtoull and atof do, a cast takes the longest prefix that is a number, and 0 where there is none.
"""

import re
from collections.abc import Callable
from typing import Any, TypeAlias

from agent.engine.config import InvalidProperty
from headrace.config import did_you_mean

Cast: TypeAlias = Callable[[str], Any]

_INTEGER = re.compile(r"\s*([+-]?\d+)", re.ASCII)
_HEX = re.compile(r"\s*\+?(?:0[xX])?([0-9a-fA-F]+)")
_FLOAT = re.compile(r"\s*([+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)", re.ASCII)
_LONG = 2**63


def _integer(text: str) -> int:
    found = _INTEGER.match(text)
    return max(-_LONG, min(_LONG - 1, int(found[1]))) if found else 0


def _hex(text: str) -> int:
    found = _HEX.match(text)
    return min(2**64 - 1, int(found[1], 16)) if found else 0


def _float(text: str) -> float:
    found = _FLOAT.match(text)
    return float(found[1]) if found else 0.0


def _bool(text: str) -> bool | str:
    lower = text.lower()
    return True if lower.startswith("true") else False if lower.startswith("false") else text


CASTS: dict[str, Cast] = {"integer": _integer, "float": _float, "bool": _bool, "string": str, "hex": _hex}


def parse_types(text: str | None) -> dict[str, Cast]:
    """Casts by key from text such as `code:integer took:float`. Raises InvalidProperty."""
    casts: dict[str, Cast] = {}
    for item in (text or "").split():
        key, colon, kind = item.rpartition(":")
        if not colon or kind.lower() not in CASTS:
            hint = did_you_mean(kind, CASTS) or f"; there are {', '.join(CASTS)}"
            raise InvalidProperty("types", f"{item!r} is not a key and a type{hint}")
        casts[key] = CASTS[kind.lower()]
    return casts
