"""Filter `expect`: checks that records are as expected, for trying a pipeline out."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

from agent.engine.accessor import MISSING, Accessor, accessor
from agent.engine.config import STRING, InvalidProperty, option, split_words
from agent.engine.encode import json_text
from agent.engine.plugin import Context, Emit
from agent.engine.record import Batch, Record
from agent.engine.registry import filters

FAILED = 255
"""The engine's exit status after a record that is not as expected."""

_Complaint: TypeAlias = Callable[[Any], str | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class ExpectConfig:
    """What the expect filter takes."""

    rules: tuple[tuple[str, str], ...] = option(
        STRING,
        names=("key_exists", "key_not_exists", "key_val_is_null", "key_val_is_not_null", "key_val_eq"),
        help="a key or record accessor; for key_val_eq also the text that it must have",
    )
    action: str = option(
        STRING, "warn", choices=("warn", "exit", "result_key"), help="what to do about a record that is not as expected"
    )
    result_key: str = option(STRING, "matched", help="for result_key: the key that says whether all rules hold")


@filters.register("expect", ExpectConfig)
class Expect:
    """Checks keys and values."""

    def __init__(self, config: ExpectConfig, context: Context) -> None:
        self._config = config
        self._context = context
        self._rules = [_rule(name, text) for name, text in config.rules]

    def process(self, batch: Batch, emit: Emit) -> Batch:
        for at, record in enumerate(batch.records):
            holds = self._holds(record)
            if self._config.action == "result_key":
                batch.records[at] = {self._config.result_key: holds, **record}
            elif not holds and self._config.action == "warn":
                self._context.log.warning("expect check failed")
            elif not holds:
                self._context.stop("a record is not as expected", FAILED)
                break
        return batch

    async def open(self) -> None:
        pass

    async def close(self) -> None:
        pass

    def _holds(self, record: Record) -> bool:
        for number, (name, value, complain) in enumerate(self._rules):
            complaint = complain(value(record))
            if complaint is not None:
                text = json_text(record).decode()
                self._context.log.error(
                    "exception on rule #%d %r, %s. Record content:\n%s", number, name, complaint, text
                )
                return False
        return True


def _rule(name: str, text: str) -> tuple[str, Accessor, _Complaint]:
    key, *rest = split_words(text, 2) if name == "key_val_eq" else [text]
    if name == "key_val_eq" and not rest:
        raise InvalidProperty(name, f"{text!r}: expected a key and a text")
    try:
        value = accessor(key if key.startswith("$") else "$" + key)
    except ValueError as error:
        raise InvalidProperty(name, str(error)) from None
    return name, value, _complaint(name, key, rest[0] if rest else "")


def _complaint(name: str, key: str, expected: str) -> _Complaint:
    """What a rule has to say about a value; nothing when it holds."""
    missing = f"key '{key}' not found"
    match name:
        case "key_exists":
            return lambda value: missing if value is MISSING else None
        case "key_not_exists":
            return lambda value: None if value is MISSING else f"key '{key}' exists"
        case "key_val_is_null":
            return lambda value: missing if value is MISSING else None if value is None else f"key '{key}' is not null"
        case "key_val_is_not_null":
            return lambda value: missing if value is MISSING else f"key '{key}' is null" if value is None else None
        case _:
            return lambda value: (
                missing
                if value is MISSING
                else f"key value '{value}' is different than expected: '{expected}'"
                if isinstance(value, str) and value != expected
                else None
            )
