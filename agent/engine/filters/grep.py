"""Filter `grep`: keeps or drops records by regular expressions on their values."""

from collections.abc import Callable
from dataclasses import dataclass

from agent.engine.accessor import Accessor, accessor
from agent.engine.config import STRING, InvalidProperty, option, split_words
from agent.engine.plugin import Context, Emit
from agent.engine.record import Batch, Record
from agent.engine.regex import compile_regex
from agent.engine.registry import filters


@dataclass(frozen=True, slots=True, kw_only=True)
class GrepConfig:
    """What the grep filter takes."""

    rules: tuple[tuple[str, str], ...] = option(
        STRING,
        names=("regex", "exclude"),
        help="a key or record accessor, and an expression that its text must (not) match",
    )
    logical_op: str = option(
        STRING,
        "legacy",
        choices=("legacy", "AND", "OR"),
        help="how several rules work together; legacy: the first decides",
    )


@filters.register("grep", GrepConfig)
class Grep:
    """Keeps or drops records that match."""

    def __init__(self, config: GrepConfig, context: Context) -> None:
        rules = [(name == "exclude", _rule(name, text)) for name, text in config.rules]
        kinds = {is_exclude for is_exclude, _ in rules}
        if config.logical_op != "legacy" and len(kinds) > 1:
            raise InvalidProperty("logical_op", "with AND or OR the rules must all be 'regex' or all be 'exclude'")
        matches = [match for _, match in rules]
        self._keeps: Callable[[Record], bool]
        if config.logical_op == "legacy" or not rules:
            self._keeps = matches[0] if len(rules) == 1 and not rules[0][0] else lambda record: _legacy(rules, record)
        else:
            together = all if config.logical_op == "AND" else any
            excludes = True in kinds
            self._keeps = lambda record: together(match(record) for match in matches) != excludes

    def process(self, batch: Batch, emit: Emit) -> Batch:
        keeps = self._keeps
        return batch.keep([at for at, record in enumerate(batch.records) if keeps(record)])

    async def open(self) -> None:
        pass

    async def close(self) -> None:
        pass


def _rule(name: str, text: str) -> Callable[[Record], bool]:
    words = split_words(text, 2)
    if len(words) != 2:
        raise InvalidProperty(name, f"{text!r}: expected a key and a regular expression")
    try:
        value_of: Accessor = accessor(words[0] if words[0].startswith("$") else "$" + words[0])
        search = compile_regex(words[1]).search
    except ValueError as error:
        raise InvalidProperty(name, str(error)) from None

    def matches(record: Record) -> bool:
        value = value_of(record)
        return type(value) is str and search(value) is not None

    return matches


def _legacy(rules: list[tuple[bool, Callable[[Record], bool]]], record: Record) -> bool:
    """Fluent Bit's own way: a `regex` that matches keeps the record whatever follows, one that does not drops it."""
    for is_exclude, matches in rules:
        if matches(record):
            return not is_exclude
        if not is_exclude:
            return False
    return True
