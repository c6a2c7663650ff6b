"""YAML text to a tree of nodes with positions: no types are guessed, no tags are followed, nothing is shared.

Fluent Bit reads YAML events and takes no aliases, so neither does this: what a text can unfold to is never larger than
the text. Depth is bounded too.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NoReturn, Protocol, TypeAlias

import yaml

from headrace.config.draft import Draft
from headrace.config.model import Position

try:
    from yaml import CLoader as Loader
except ImportError:  # PyYAML built without libyaml: the same events, more slowly
    from yaml import Loader  # type: ignore[assignment]  # the two have no common class

MAX_DEPTH = 32


@dataclass(frozen=True, slots=True)
class Scalar:
    """Text; `plain` when it was written without quotes, and so may stand for a number, a boolean or null."""

    text: str
    plain: bool
    position: Position


@dataclass(frozen=True, slots=True)
class List:
    items: tuple["Node", ...]
    position: Position


@dataclass(frozen=True, slots=True)
class Map:
    """Pairs in order; a key may occur more than once, which is for the reader to judge."""

    items: tuple[tuple[Scalar, "Node"], ...]
    position: Position


Node: TypeAlias = Scalar | List | Map


class _Mark(Protocol):
    """Where an event begins, counted from 0."""

    line: int
    column: int


class _Stop(Exception):
    """The text cannot be read any further; the fault is noted already."""


def compose(draft: Draft, text: str, file: str) -> list[Node]:
    """The root node of each document in the text, up to the first place that is not YAML, which is noted."""
    roots: list[Node] = []
    composer = _Composer(draft, file, yaml.parse(text.removeprefix("\ufeff"), Loader=Loader))
    try:
        roots.extend(composer.roots())
    except _Stop:
        pass
    except yaml.MarkedYAMLError as error:
        position = _position(file, error.problem_mark or error.context_mark)
        context = f" {error.context}" if error.context else ""
        hint = "; look for a missing ':' or a wrong indentation on the line above" if position.line > 1 else ""
        draft.fault(position, f"invalid YAML{context}: {error.problem}{hint}")
    return roots


class _Composer:
    def __init__(self, draft: Draft, file: str, events: Iterator[yaml.Event]) -> None:
        self.draft = draft
        self.file = file
        self.events = events

    def roots(self) -> Iterator[Node]:
        for event in self.events:
            if isinstance(event, yaml.DocumentStartEvent):
                yield self.node(next(self.events), depth=0)

    def node(self, event: yaml.Event, depth: int) -> Node:
        position = _position(self.file, event.start_mark)
        match event:
            case yaml.ScalarEvent():
                if "\0" in event.value:
                    self._refuse(position, "this text holds U+0000, where Fluent Bit would end it; leave it out")
                return Scalar(event.value, event.style is None or event.style == "", position)
            case yaml.AliasEvent():
                self._refuse(position, f"YAML aliases are not taken; write out what *{event.anchor} stands for")
            case _ if depth >= MAX_DEPTH:
                self._refuse(position, f"nested deeper than {MAX_DEPTH} levels")
            case yaml.SequenceStartEvent():
                return List(tuple(self._items(yaml.SequenceEndEvent, depth)), position)
        return Map(tuple(self._pairs(depth)), position)

    def _items(self, end: type[yaml.Event], depth: int) -> Iterator[Node]:
        while not isinstance(event := next(self.events), end):
            yield self.node(event, depth + 1)

    def _pairs(self, depth: int) -> Iterator[tuple[Scalar, Node]]:
        for key in self._items(yaml.MappingEndEvent, depth):
            if not isinstance(key, Scalar):
                self._refuse(key.position, "a key must be text, not a list or a map")
            yield key, self.node(next(self.events), depth + 1)

    def _refuse(self, position: Position, message: str) -> NoReturn:
        self.draft.fault(position, message)
        raise _Stop


def _position(file: str, mark: _Mark | None) -> Position:
    return Position(file, mark.line + 1, mark.column + 1) if mark else Position(file, 1, 1)
