"""Printing what was asked for: a table for people, JSON and YAML for programs; stdout carries nothing else.

A list is a JSON array, one thing is one object. Times are RFC 3339 in UTC. A table is plain text in columns, never cut,
the same on a terminal and in a pipe but for the colour of phases and states.
"""

from __future__ import annotations

import base64
import dataclasses
import json
import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from headrace.cli.exits import printable
from headrace.types import KnownBy

if TYPE_CHECKING:
    from rich.text import Text

T = TypeVar("T")


class Format(StrEnum):
    TABLE = "table"
    JSON = "json"
    YAML = "yaml"


@dataclass(frozen=True, slots=True)
class Column(Generic[T]):
    """One column of a table: its head, and the text of a row's cell."""

    head: str
    cell: Callable[[T], str]


def show_list(
    items: Sequence[T], *, columns: Sequence[Column[T]], document: Callable[[T], Any], format: Format, none: str
) -> None:
    """Print many; `none` is what people are told, on stderr, when there are none."""
    if format is not Format.TABLE:
        show_document([document(item) for item in items], format)
    elif items:
        show_lines(table(items, columns))
    else:
        print(none, file=sys.stderr)


def show_document(document: object, format: Format) -> None:
    """Print one thing, or an array of them, for programs."""
    text = yaml_text(document) if format is Format.YAML else json.dumps(plain(document), indent=2) + "\n"
    sys.stdout.write(text)
    sys.stdout.flush()


def show_lines(lines: Iterable[str]) -> None:
    """Print text for people."""
    text = "".join(f"{line}\n" for line in lines)
    if not sys.stdout.isatty():
        sys.stdout.write(text)
    else:
        from rich.console import Console
        from rich.text import Text

        Console().print(_coloured(Text(text, end="")), soft_wrap=True, end="")
    sys.stdout.flush()


def table(items: Sequence[T], columns: Sequence[Column[T]], widths: list[int] | None = None) -> list[str]:
    """The lines of a table, head first; `widths`, when given, are kept to and grown, and the head is left out."""
    cells = [[_cell(column.cell(item)) for column in columns] for item in items]
    if widths is None or not widths:
        cells.insert(0, [column.head for column in columns])
    needed = [max(len(row[index]) for row in cells) for index in range(len(columns))]
    if widths is not None:
        widths[:] = needed = [max(pair) for pair in zip(needed, widths, strict=True)] if widths else needed
    return ["   ".join(cell.ljust(width) for cell, width in zip(row, needed, strict=True)).rstrip() for row in cells]


def yaml_text(document: object) -> str:
    """A document as YAML, with texts of several lines as blocks, so that configurations can be read."""
    import yaml

    class Dumper(yaml.SafeDumper):
        """Never writes an alias: people read this."""

        def ignore_aliases(self, data: object) -> bool:
            return True

    def represent(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
        return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)

    Dumper.add_representer(str, represent)
    text: str = yaml.dump(plain(document), Dumper=Dumper, sort_keys=False, allow_unicode=True, width=120)
    return text


def plain(value: object) -> Any:
    """A value as JSON has it: dataclasses as objects, times as RFC 3339, bytes as text or else in base64."""
    match value:
        case datetime():
            return rfc3339(value)
        case StrEnum():
            return value.value
        case bytes():
            try:
                return value.decode()
            except UnicodeDecodeError:
                return {"base64": base64.b64encode(value).decode()}
        case Mapping():
            return {str(key): plain(item) for key, item in value.items()}
        case tuple() | list():
            return [plain(item) for item in value]
        case _ if dataclasses.is_dataclass(value):
            return {field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    return value


def rfc3339(value: datetime | None) -> str:
    """`2026-11-22T10:15:30Z`, to the millisecond where there is one; empty for no time."""
    if value is None:
        return ""
    moment = value.astimezone(UTC)
    text = moment.isoformat(timespec="milliseconds" if moment.microsecond >= 1000 else "seconds")
    return text.replace("+00:00", "Z")


def when(value: datetime | None) -> str:
    """A time in a table, to the second."""
    return rfc3339(value.replace(microsecond=0)) if value else "-"


def whom(name: str, known_by: KnownBy | None) -> str:
    """Who did something and by what they were known: `ann (certificate)`."""
    return f"{name} ({known_by.value})" if name and known_by else name


def labels_text(labels: Mapping[str, str]) -> str:
    """`a=1,b=2`, by key."""
    return ",".join(f"{key}={value}" for key, value in sorted(labels.items())) or "-"


def _cell(text: str) -> str:
    return printable(text.replace("\n", " ").replace("\t", " ")) or "-"


_COLOURS = {
    word: colour
    for colour, words in (
        ("green", "good running healthy connected"),
        ("yellow", "pending applying starting degraded suspect removing orphaned"),
        ("red", "failed crash_looping stopped lost gone revoked"),
    )
    for word in words.split()
}
_CELL = re.compile(r"(?:^| {2}|\d )(?P<word>[a-z_]+)(?= {2}|, \d|$)", re.MULTILINE)


def _coloured(text: Text) -> Text:
    """With the colours of phases and states, where they are a cell or a part of a count, not a word in a sentence."""
    for match in _CELL.finditer(text.plain):
        if colour := _COLOURS.get(match["word"]):
            text.stylize(colour, *match.span("word"))
    return text
