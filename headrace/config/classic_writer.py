"""A document in the classic format, which holds less: no processors, nothing nested, no text of several lines."""

from collections.abc import Iterator, Mapping

from headrace.config.errors import ConfigError, Fault
from headrace.config.model import Document, Property, Section
from headrace.config.rules import join_rule
from headrace.config.tables import BLANK, CLASSIC_HEADERS, UNREADABLE, text_of_value


def write_classic(document: Document) -> str:
    """The document as classic text. Raises ConfigError with everything that the format cannot hold."""
    writer = _Writer()
    for prop in document.env:
        writer.command(prop)
    for section in ((document.service,) if document.service else ()) + document.sections:
        writer.section(section)
    if writer.faults:
        raise ConfigError(writer.faults)
    return "".join(writer.lines)


class _Writer:
    def __init__(self) -> None:
        self.lines: list[str] = []
        self.faults: list[Fault] = []

    def command(self, prop: Property) -> None:
        """A variable that the configuration sets itself."""
        line = f"{prop.name}={text_of_value(prop.value)}"
        if not isinstance(prop.value, str) or not prop.name or "=" in prop.name or not _is_one_line(line):
            self.faults.append(Fault(prop.position, f"variable {prop.name!r} has no classic form; write YAML"))
        self.lines.append(f"@SET {line}\n")

    def section(self, section: Section) -> None:
        header = CLASSIC_HEADERS.get(section.kind)
        if header is None or section.processors:
            what = section.kind if header is None else f"processors of an {section.kind}"
            self.faults.append(Fault(section.position, f"no classic form for {what}; write YAML"))
        self.lines.append(f"\n[{header}]\n" if self.lines else f"[{header}]\n")
        for prop in section.properties:
            try:
                self.lines.extend(_lines(prop))
            except ValueError as error:
                self.faults.append(Fault(prop.position, f"no classic form for {prop.name!r}: {error}; write YAML"))


def _lines(prop: Property) -> Iterator[str]:
    match prop.value:
        case Mapping() as rule if prop.name == "rule":
            yield _line("rule", join_rule(rule))
        case Mapping() as node if prop.name == "node":
            yield "[NODE]\n"
            for key, value in node.items():
                yield _line(key, text_of_value(value))
        case Mapping() | tuple():
            raise ValueError("its value is nested")
        case value:
            yield _line(prop.name, text_of_value(value))


def _line(key: str, value: str) -> str:
    if not key or key[0] in "#[" or any(character in BLANK for character in key) or not _is_one_line(key):
        raise ValueError("the key has blanks, or starts like a comment or a header")
    if value and not _is_one_line(value):
        raise ValueError("the value has several lines, control characters, or blanks at an end")
    # Fluent Bit refuses a key with nothing behind it, but takes a blank for nothing.
    return f"    {key} {value or ' '}\n"


def _is_one_line(text: str) -> bool:
    return text == text.strip(BLANK) and "\n" not in text and UNREADABLE.search(text) is None
