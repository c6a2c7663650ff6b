"""Filter `grep`: keeps or drops records by regular expressions on their values."""

from dataclasses import dataclass

from agent.engine.config import STRING, InvalidProperty, option
from agent.engine.matching import Matches, first_decides, matcher
from agent.engine.plugin import Context, Emit
from agent.engine.record import Batch
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
        rules = [(name == "exclude", matcher(name, text)) for name, text in config.rules]
        kinds = {is_exclude for is_exclude, _ in rules}
        if config.logical_op != "legacy" and len(kinds) > 1:
            raise InvalidProperty("logical_op", "with AND or OR the rules must all be 'regex' or all be 'exclude'")
        matches = [match for _, match in rules]
        self._keeps: Matches
        if config.logical_op == "legacy" or not rules:
            self._keeps = first_decides(rules)
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
