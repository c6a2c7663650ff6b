"""The text in `log` taken apart, and the record put together: what was there, what was in the text, what is added."""

import json
from typing import Any

import orjson

from agent.engine.filters.kubernetes.config import KubernetesConfig
from agent.engine.parser import Parsed, Parser
from agent.engine.record import Record

KEY = "log"
_JSON = json.JSONDecoder()


def take_apart(text: str, parser: Parser | None) -> Parsed | None:
    """What is in the text, by the parser or as one JSON object."""
    if parser is not None:
        return parser.parse(text)
    try:
        found = orjson.loads(text)
    except orjson.JSONDecodeError:
        found = _first_of(text)
    return (0, found) if type(found) is dict else None


def merged(record: Record, config: KubernetesConfig, parser: Parser | None) -> tuple[int | None, Record]:
    """The record with what was in `log` in it, and the time that was there: 0 where none was.

    None for the time says that nothing was taken apart by a parser, so that the record keeps its own.
    """
    value = record.get(KEY)
    when: int | None = None
    inner: Record | None = None
    if type(value) is dict:
        inner = value
    elif type(value) is str and (parsed := take_apart(value, parser)) is not None:
        when, inner = parsed if parser is not None else (None, parsed[1])
        if config.merge_log_trim:
            inner = {key: _trimmed(item) if type(item) is str else item for key, item in inner.items()}
    if inner is None:
        return None, record
    kept = record if config.keep_log else {key: item for key, item in record.items() if key != KEY}
    if config.merge_log_key is not None:
        return when, kept | ({config.merge_log_key: inner} if inner else {})
    return when, kept | inner


def _first_of(text: str) -> Any:
    """The JSON that the text begins with, if what follows is none, as in Fluent Bit."""
    start = text.lstrip()
    if not start.startswith("{"):
        return None
    try:
        found, end = _JSON.raw_decode(start)
    except (ValueError, RecursionError):
        return None
    return None if start[end:].lstrip().startswith(("{", "[")) else found


def _trimmed(text: Any) -> str:
    """Without line breaks at its end, and without backslashes with n or r; the first character stays if it is one."""
    end = at = len(text)
    while (at := at - 1) > 0:
        if text[at] == "\n":
            end -= 1
        elif text[at - 1] == "\\" and text[at] in "nr":
            end -= 2
            at -= 1
        else:
            break
    return str(text[:end])
