"""The parsers of one configuration by name, line by line and multi-line, built from its sections."""

from collections.abc import Callable, Mapping

from agent.engine.config import InvalidProperty, read
from agent.engine.multiline import MultilineParser
from agent.engine.parser import Make, Parser, ParserConfig
from agent.engine.parsers.decoders import DecodingParser, decoder
from agent.engine.parsers.json import JsonParser
from agent.engine.parsers.logfmt import LogfmtParser
from agent.engine.parsers.ltsv import LtsvParser
from agent.engine.parsers.multiline import build_multiline
from agent.engine.parsers.regex import RegexParser
from headrace.config import Fault, Section, did_you_mean

FORMATS: Mapping[str, Make] = {"json": JsonParser, "regex": RegexParser, "logfmt": LogfmtParser, "ltsv": LtsvParser}


class ParserTable:
    """The parsers of a configuration by name; of several with one name the first counts, as in Fluent Bit."""

    def __init__(
        self,
        parsers: Mapping[str, tuple[Section, Parser]],
        multiline: Mapping[str, tuple[Section | None, MultilineParser]],
    ) -> None:
        self._parsers = parsers
        self._multiline = multiline

    def get(self, name: str) -> Parser:
        """Raises LookupError with a suggestion."""
        found = self._parsers.get(name)
        if found is None:
            raise LookupError(f"parser {name!r} is not defined{did_you_mean(name, self._parsers)}")
        return found[1]

    def get_multiline(self, name: str) -> MultilineParser:
        """Raises LookupError with a suggestion."""
        found = self._multiline.get(name)
        if found is None:
            raise LookupError(f"multi-line parser {name!r} is not defined{did_you_mean(name, self._multiline)}")
        return found[1]

    def definitions(self, name: str) -> tuple[Section | None, Section | None]:
        """What defines the parser and the multi-line parser of that name, to compare with another configuration's."""
        parser, multiline = self._parsers.get(name), self._multiline.get(name)
        return (parser[0] if parser else None), (multiline[0] if multiline else None)


def build_parsers(sections: tuple[Section, ...], clock: Callable[[], int]) -> tuple[ParserTable, list[Fault]]:
    """All parsers that can be built, and what is wrong with the others; `sections` are of both kinds."""
    parsers: dict[str, tuple[Section, Parser]] = {}
    faults: list[Fault] = []
    for section in sections:
        if section.kind != "parser":
            continue
        label = f"parser {section.name!r}"
        found, wrong = read(section, ParserConfig, label=label)
        faults += wrong
        if wrong:
            continue
        config: ParserConfig = found[0]
        make = FORMATS.get(config.format.lower())
        if make is None:
            hint = did_you_mean(config.format, FORMATS) or f"; there are {', '.join(sorted(FORMATS))}"
            faults.append(Fault(section.position, f"{label}: format {config.format!r} is not known{hint}"))
            continue
        try:
            parsers.setdefault(section.name or "", (section, _made(make, section.name or "", config, clock)))
        except InvalidProperty as error:
            prop = section.find(error.name)
            faults.append(Fault(prop.position if prop else section.position, f"{label}: {error}"))
    multiline_sections = tuple(section for section in sections if section.kind == "multiline_parser")
    multiline, wrong = build_multiline(multiline_sections, ParserTable(parsers, {}).get, clock)
    return ParserTable(parsers, multiline), faults + wrong


def _made(make: Make, name: str, config: ParserConfig, clock: Callable[[], int]) -> Parser:
    parser = make(name, config, clock)
    decode = decoder(config.decode) if not isinstance(parser, JsonParser) else None  # which looks for its time after it
    return DecodingParser(parser, decode) if decode is not None else parser
