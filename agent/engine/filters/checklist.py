"""Filter `checklist`: looks a value up in a list of a file, and adds keys to the records where it is found."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from agent.engine.accessor import accessor
from agent.engine.config import BOOLEAN, PAIR, STRING, InvalidProperty, option
from agent.engine.plugin import Context, Emit
from agent.engine.record import Batch
from agent.engine.registry import filters

_WORDS: dict[str, Any] = {"true": True, "false": False, "null": None}
_WILDCARDS = {"%": ".*", "_": "."}


@dataclass(frozen=True, slots=True, kw_only=True)
class ChecklistConfig:
    """What the checklist filter takes."""

    file: str = option(STRING, required=True, help="text file, one value per line; a line that begins with # is none")
    lookup_key: str = option(STRING, "log", help="key or record accessor of the text to look up")
    mode: str = option(
        STRING, "exact", choices=("exact", "partial"), help="whether the text is a line, or begins with one"
    )
    ignore_case: bool = option(BOOLEAN, False, help="take upper and lower case of ASCII for the same")
    record: tuple[tuple[str, str], ...] = option(
        PAIR, repeated=True, help="a key and a value to add; true, false and null are no text"
    )


@filters.register("checklist", ChecklistConfig, refused=("print_query_time",))
class Checklist:
    """Adds keys to records whose value is on the list."""

    def __init__(self, config: ChecklistConfig, context: Context) -> None:
        try:
            self._value_of = accessor(config.lookup_key)
        except ValueError as error:
            raise InvalidProperty("lookup_key", str(error)) from None
        if not config.record:
            context.log.warning("no 'record' is given, so nothing is added")
        lines = context.text_file("file", config.file).split("\n")
        values = [line for line in (line.removesuffix("\r") for line in lines) if line and not line.startswith("#")]
        make = _exact if config.mode == "exact" else _partial
        self._is_listed = make(values, config.ignore_case)
        # Of a value of several words Fluent Bit takes the last one.
        words = [(key, value.split()[-1]) for key, value in config.record]
        self._added = {key: _WORDS.get(word, word) for key, word in words}

    def process(self, batch: Batch, emit: Emit) -> Batch:
        value_of, is_listed, added = self._value_of, self._is_listed, self._added
        for record in batch.records:
            value = value_of(record)
            if isinstance(value, str) and is_listed(value):
                for key in added:
                    record.pop(key, None)
                record.update(added)
        return batch

    async def open(self) -> None:
        pass

    async def close(self) -> None:
        pass


def _exact(values: list[str], ignores_case: bool) -> Callable[[str], bool]:
    if not ignores_case:
        return frozenset(values).__contains__
    lowered = frozenset(map(_lower, values))
    return lambda text: _lower(text) in lowered


def _partial(values: list[str], ignores_case: bool) -> Callable[[str], bool]:
    """As SQL's `LIKE value%`, by which Fluent Bit looks: `_` is any character, `%` any text."""
    if not values:
        return lambda text: False
    expressions = ("".join(_WILDCARDS.get(char) or re.escape(char) for char in value) for value in values)
    flags = re.DOTALL | (re.IGNORECASE | re.ASCII if ignores_case else re.NOFLAG)
    match = re.compile("|".join(expressions), flags).match
    return lambda text: match(text) is not None


def _lower(text: str) -> str:
    return text.lower() if text.isascii() else "".join(char.lower() if char.isascii() else char for char in text)
