"""Processor `content_modifier`: one change to one key of each record or of its metadata."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from agent.engine.config import STRING, InvalidProperty, option
from agent.engine.encode import json_text
from agent.engine.plugin import Context, Emit
from agent.engine.record import Batch, Record
from agent.engine.regex import compile_regex
from agent.engine.registry import processors

_METADATA = ("metadata", "attributes")
_CONTEXTS = ("body", "message", "record", *_METADATA)
_NEEDS = {
    "insert": "value",
    "upsert": "value",
    "rename": "value",
    "extract": "pattern",
    "convert": "converted_type",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ContentModifierConfig:
    """What the content_modifier processor takes."""

    action: str = option(
        STRING,
        required=True,
        choices=("insert", "upsert", "delete", "rename", "hash", "extract", "convert"),
        help="what to do with the key",
    )
    context: str = option(STRING, "body", choices=_CONTEXTS, help="where the key is: in the record, or in its metadata")
    key: str = option(STRING, required=True, help="the key")
    value: str | None = option(STRING, help="for insert and upsert the value, for rename the new key")
    pattern: str | None = option(STRING, help="for extract: an expression whose named groups become keys")
    converted_type: str | None = option(
        STRING, choices=("string", "boolean", "int", "double"), help="for convert: the new type"
    )


@processors.register("content_modifier", ContentModifierConfig)
class ContentModifier:
    """Changes one key of each record."""

    def __init__(self, config: ContentModifierConfig, context: Context) -> None:
        needed = _NEEDS.get(config.action)
        if needed is not None and getattr(config, needed) is None:
            raise InvalidProperty("action", f"{config.action} needs {needed!r}")
        actions: dict[str, Callable[[Record], None]] = {
            "insert": lambda content: content.setdefault(config.key, config.value),
            "upsert": lambda content: _put(content, config.key, config.value),
            "delete": lambda content: content.pop(config.key, None),
            "rename": lambda content: _rename(content, config.key, config.value or ""),
            "hash": lambda content: _hash(content, config.key),
            "extract": self._extractor(config),
            "convert": lambda content: _convert(content, config.key, config.converted_type or ""),
        }
        self._change = actions[config.action]
        self._of_metadata = config.context in _METADATA

    def process(self, batch: Batch, emit: Emit) -> Batch:
        if self._of_metadata and batch.metadata is None:
            batch.metadata = [{} for _ in batch.records]
        for content in (batch.metadata or []) if self._of_metadata else batch.records:
            self._change(content)
        return batch

    async def open(self) -> None:
        pass

    async def close(self) -> None:
        pass

    @staticmethod
    def _extractor(config: ContentModifierConfig) -> Callable[[Record], None]:
        try:
            regex = compile_regex(config.pattern or "")
        except ValueError as error:
            raise InvalidProperty("pattern", str(error)) from None

        def extract(content: Record) -> None:
            text = content.get(config.key)
            found = regex.search(text) if isinstance(text, str) else None
            for name, value in (found.groupdict("") if found else {}).items():
                _put(content, name, value)

        return extract


def _put(content: Record, key: str, value: Any) -> None:
    """Set a key; one that was there moves to the end."""
    content.pop(key, None)
    content[key] = value


def _rename(content: Record, key: str, to: str) -> None:
    if key in content and key != to:
        renamed = {to if k == key else k: v for k, v in content.items() if k != to}
        content.clear()
        content.update(renamed)


def _hash(content: Record, key: str) -> None:
    """SHA-256 in hexadecimal of the value's text; an empty text stays empty."""
    if key not in content:
        return
    text = _text(content[key])
    content[key] = hashlib.sha256(text.encode()).hexdigest() if text else text


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json_text(value, escape_unicode=False).decode()


def _convert(content: Record, key: str, kind: str) -> None:
    """Turn the value into another type; one that cannot be turned stays as it is."""
    if key not in content:
        return
    converted = _converted(content[key], kind)
    if converted is not None:
        _put(content, key, converted)


def _converted(value: Any, kind: str) -> Any:
    if isinstance(value, dict | list):
        return None
    text = _text(value)
    try:
        match kind:
            case "string":
                return text
            case "boolean":
                return {"true": True, "false": False}.get(text.lower()) if isinstance(value, str) else bool(value)
            case "int":
                return int(float(text)) if not isinstance(value, bool) else int(value)
            case _:
                return float(text) if not isinstance(value, bool) else float(value)
    except (ValueError, OverflowError):
        return None
