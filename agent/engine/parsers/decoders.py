"""Decoders of a parser: `Decode_Field` and `Decode_Field_As`, which turn escaped or quoted text of a key back (pure).

A rule is a decoder, a key and what comes after it: nothing (the first rule that works is the last), `try_next` (go on
when it fails) or `do_next` (go on either way). `decode_field_as` puts the result in the key's place; `decode_field`
adds the keys of a decoded map to the record. Rules of one key are tried in their order.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from agent.engine.config import InvalidProperty
from agent.engine.parser import Parsed, Parser
from agent.engine.record import Record
from headrace.config import did_you_mean

Decode = Callable[[Record], Record]

_SIMPLE = {"n": "\n", "a": "\a", "b": "\b", "t": "\t", "v": "\v", "f": "\f", "r": "\r"}
_ESCAPE = re.compile(r"\\(.)", re.DOTALL)
_ESCAPE_UTF8 = re.compile(
    r"\\(?:(?P<octal>[0-7]{1,3})|x(?P<x>[0-9a-fA-F]{1,2})|U(?P<wide>[0-9a-fA-F]{1,8})"
    r"|u(?P<high>[dD][89abAB][0-9a-fA-F]{2})\\u(?P<low>[dD][c-fC-F][0-9a-fA-F]{2})|u(?P<u>[0-9a-fA-F]{0,4})"
    r"|(?P<other>.))",
    re.DOTALL,
)
_MYSQL = {"n": "\n", "r": "\r", "t": "\t", "\\": "\\", "'": "'", '"': '"', "0": "\0", "Z": "\x1a"}


def _json(text: str) -> Any:
    """The map in a text that is exactly one; None where it is not."""
    try:
        value = orjson.loads(text.strip())
    except orjson.JSONDecodeError:
        return None
    return value if isinstance(value, dict) else None


def _escaped(text: str) -> str:
    return _ESCAPE.sub(lambda found: _SIMPLE.get(found[1], found[1]), text)


def _escaped_utf8(text: str) -> str:
    return _ESCAPE_UTF8.sub(_character, text)


def _character(found: re.Match[str]) -> str:
    part = found.groupdict()
    if part["high"]:
        return chr(0x10000 + ((int(part["high"], 16) - 0xD800) << 10) + int(part["low"], 16) - 0xDC00)
    if part["octal"]:
        return chr(int(part["octal"], 8))
    if part["u"] is not None and len(part["u"]) < 4:
        return "\ufffd"
    digits = part["x"] or part["wide"] or part["u"]
    if digits:
        code = int(digits, 16)
        return chr(code) if code < 0x110000 and not 0xD800 <= code < 0xE000 else "\ufffd"
    return _SIMPLE.get(part["other"], part["other"])


def _mysql_quoted(text: str) -> str:
    if len(text) < 2 or text[0] != text[-1] or text[0] not in "'\"":
        return text
    return _ESCAPE.sub(lambda found: _MYSQL.get(found[1], found[0]), text[1:-1])


DECODERS: Mapping[str, Callable[[str], Any]] = {
    "json": _json,
    "escaped": _escaped,
    "escaped_utf8": _escaped_utf8,
    "mysql_quoted": _mysql_quoted,
}


@dataclass(frozen=True, slots=True)
class _Rule:
    decode: Callable[[str], Any]
    replaces: bool
    after: str


def decoder(rules: Iterable[tuple[str, str]]) -> Decode | None:
    """What applies (property, text) rules to a record; None when there are none. Raises InvalidProperty."""
    by_key: dict[str, list[_Rule]] = {}
    for name, text in rules:
        words = text.split(maxsplit=2)
        if len(words) < 2:
            raise InvalidProperty(name, f"{text!r}: expected a decoder and a key")
        decode = DECODERS.get(words[0].lower())
        if decode is None:
            hint = did_you_mean(words[0], DECODERS) or f"; there are {', '.join(DECODERS)}"
            raise InvalidProperty(name, f"decoder {words[0]!r} is not known{hint}")
        after = words[2].lower() if len(words) == 3 else ""
        by_key.setdefault(words[1], []).append(_Rule(decode, name == "decode_field_as", after))
    return (lambda record: _decoded(record, by_key)) if by_key else None


def _decoded(record: Record, by_key: Mapping[str, list[_Rule]]) -> Record:
    extra: Record = {}
    for key, text in list(record.items()):
        rules = by_key.get(key)
        if rules is None or type(text) is not str:
            continue
        record[key], added = _apply(rules, text)
        if any(not rule.replaces for rule in rules):
            extra = added or {}  # of several keys only the last one adds to the record, as in Fluent Bit
    return {**record, **extra}


def _apply(rules: list[_Rule], text: str) -> tuple[Any, Record | None]:
    """What takes the place of the key's text, and the keys to add."""
    value: Any = text
    added: Record | None = None
    for rule in rules:
        if not isinstance(value, str):
            break
        if not rule.replaces and rule.after == "do_next" and added is not None:
            continue
        result = rule.decode(value)
        if result is None:
            if not rule.after:
                break
            continue
        if rule.replaces:
            value = result
        elif isinstance(result, dict):
            added = result
        if rule.after != "do_next":
            break
    return value, added


class DecodingParser:
    """A parser whose records are decoded after it."""

    def __init__(self, parser: Parser, decode: Decode) -> None:
        self._parser = parser
        self._decode = decode

    def parse(self, line: bytes | str) -> Parsed | None:
        parsed = self._parser.parse(line)
        return (parsed[0], self._decode(parsed[1])) if parsed is not None else None
