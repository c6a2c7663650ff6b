"""Filter `parser`: takes one key's text apart with a parser."""

from dataclasses import dataclass

from agent.engine.accessor import Accessor, accessor
from agent.engine.config import BOOLEAN, STRING, InvalidProperty, option
from agent.engine.parser import Parsed
from agent.engine.plugin import Context, Emit
from agent.engine.record import Batch, Record
from agent.engine.registry import filters


@dataclass(frozen=True, slots=True, kw_only=True)
class ParserFilterConfig:
    """What the parser filter takes."""

    key_name: str = option(STRING, required=True, help="key or record accessor of the text")
    parser: tuple[str, ...] = option(
        STRING, repeated=True, required=True, help="parser to try; the first that fits is taken"
    )
    preserve_key: bool = option(BOOLEAN, False, help="keep the text, too")
    reserve_data: bool = option(BOOLEAN, False, help="keep the record's other keys, too")


@filters.register("parser", ParserFilterConfig, refused=("unescape_key",))
class ParserFilter:
    """Parses a key of a record."""

    def __init__(self, config: ParserFilterConfig, context: Context) -> None:
        self._key = config.key_name
        self._parsers = [context.parser("parser", name) for name in config.parser]
        self._preserve = config.preserve_key
        self._reserve = config.reserve_data
        try:
            self._value: Accessor = accessor(config.key_name)
        except ValueError as error:
            raise InvalidProperty("key_name", str(error)) from None

    def process(self, batch: Batch, emit: Emit) -> Batch:
        for at, record in enumerate(batch.records):
            text = self._value(record)
            parsed = self._parse(text) if type(text) is str else None
            if parsed is not None:
                batch.records[at] = self._merged(record, parsed[1])
                batch.times[at] = parsed[0] or batch.times[at]
        return batch

    async def open(self) -> None:
        pass

    async def close(self) -> None:
        pass

    def _parse(self, text: str) -> Parsed | None:
        for parser in self._parsers:
            parsed = parser.parse(text)
            if parsed is not None:
                return parsed
        return None

    def _merged(self, record: Record, parsed: Record) -> Record:
        """What was parsed, then what is kept of the record; what was parsed wins where both have a key."""
        if self._reserve:
            # As Fluent Bit does: a text that an accessor found inside a map stays where it is.
            kept = (
                record
                if self._preserve or self._key.startswith("$")
                else {k: v for k, v in record.items() if k != self._key}
            )
            return {**parsed, **{k: v for k, v in kept.items() if k not in parsed}}
        if self._preserve and self._key in record and self._key not in parsed:
            parsed[self._key] = record[self._key]
        return parsed
