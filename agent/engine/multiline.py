"""Putting messages together that are spread over several lines: Fluent Bit's multi-line parsers (pure; marks and times
are given).

A parser is one of three types. `regex`: rules say which line may follow in which state. `endswith` and `equal`: a line
that ends with, or whose pattern key is, a certain text completes a message. Lines of different groups (stdout and
stderr of a container) do not mix. `Assembler` keeps what is not complete yet for one source of lines, or of records
that hold a line each.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from agent.engine.parser import Parser
from agent.engine.record import Record

START = "start_state"
FLUSH_TIMEOUT_MS = 4000


@dataclass(frozen=True, slots=True)
class Rule:
    """A line that matches in one of `states` belongs to the message; then the state is `next_state`."""

    states: frozenset[str]
    regex: re.Pattern[str]
    next_state: str

    @property
    def starts(self) -> bool:
        return START in self.states


@dataclass(frozen=True, slots=True, kw_only=True)
class MultilineParser:
    """One definition; where `parser` takes lines apart, keys say where the text, the group and the pattern are."""

    name: str
    type: Literal["regex", "endswith", "equal"]
    match_string: str = ""
    negate: bool = False
    flush_timeout: float = FLUSH_TIMEOUT_MS / 1000
    key_content: str | None = None
    key_group: str | None = None
    key_pattern: str | None = None
    parser: Parser | None = None
    rules: tuple[Rule, ...] = ()


Message: TypeAlias = tuple[int, Record, int]
"""A complete message: time in nanoseconds, record, and the mark of its first line."""


@dataclass(slots=True)
class _Group:
    """What is gathered of one message. `mark` is where its first line begins."""

    text: str = ""
    time: int = 0
    record: Record | None = None
    rule: Rule | None = None
    mark: int = -1

    @property
    def is_pending(self) -> bool:
        return self.mark >= 0


@dataclass(slots=True)
class Assembler:
    """The messages of one source of lines. `limit` is the size at which a message is cut.

    `parsers` are tried in order, the one that took the last line first. A line that none takes is a message of its own,
    and ends what was being gathered.
    """

    parsers: Sequence[MultilineParser]
    limit: int
    _groups: dict[tuple[str, str], _Group] = field(default_factory=dict)
    _last: MultilineParser | None = None

    @property
    def pending_mark(self) -> int | None:
        """Where the oldest line that is not in a message yet begins."""
        marks = [group.mark for group in self._groups.values() if group.is_pending]
        return min(marks) if marks else None

    @property
    def flush_timeout(self) -> float:
        """Seconds without a new line after which what is gathered counts as complete."""
        return min(parser.flush_timeout for parser in self.parsers)

    def append(self, line: str | Record, now: int, mark: int) -> Iterator[Message]:
        """Take the next line, which begins at `mark`, or a record that holds one; gives the messages it completes."""
        done: list[Message] = []
        order = self.parsers if self._last is None else (self._last, *(p for p in self.parsers if p is not self._last))
        for parser in order:
            if self._append_to(parser, line, now, mark, done):
                others = self._flush_others(parser) if parser is not self._last else []
                self._last = parser
                return iter(others + done)
        done += self.flush()
        if isinstance(line, dict):
            done.append((now, line, mark))
            return iter(done)
        first = self.parsers[0]
        group = self._group(first, "")
        group.text, group.time, group.record, group.mark = line, now, None, mark
        done += _finish(first, group)
        return iter(done)

    def flush(self) -> Iterator[Message]:
        """Whatever is gathered counts as complete."""
        return iter(self._flush_others(None))

    def _flush_others(self, besides: MultilineParser | None) -> list[Message]:
        by_name = {parser.name: parser for parser in self.parsers if parser is not besides}
        gathered = [(group, by_name[name]) for (name, _), group in self._groups.items() if name in by_name]
        gathered.sort(key=lambda item: item[0].mark)
        return [message for group, parser in gathered for message in _finish(parser, group)]

    def _append_to(self, parser: MultilineParser, line: str | Record, now: int, mark: int, done: list[Message]) -> bool:
        record: Record | None = None
        if isinstance(line, dict):
            record = line
            content = record.get(parser.key_content) if parser.key_content else None
            if not isinstance(content, str):
                return False
            line = content
        text, pattern, group_name = line, line, ""
        if parser.parser is not None:
            parsed = parser.parser.parse(line)
            content = parsed[1].get(parser.key_content or "log") if parsed else None
            if parsed is None or not isinstance(content, str):
                return False
            now, record = parsed[0] or now, parsed[1]
            text = content
        if record is not None:
            pattern = str(record.get(parser.key_pattern, text)) if parser.key_pattern else text
            group_name = str(record.get(parser.key_group, "")) if parser.key_group else ""
        group = self._group(parser, group_name)
        if parser.type == "regex":
            if not _apply_rules(parser, group, text, now, mark, record, done):
                return False
        else:
            _register(group, now, mark, record)
            _end_line(parser, group)
            group.text += text
            matched = (
                pattern == parser.match_string if parser.type == "equal" else pattern.endswith(parser.match_string)
            )
            if matched is not parser.negate:
                done += _finish(parser, group)
        if len(group.text) > self.limit:
            group.text = group.text[: self.limit]
            done += _finish(parser, group)
            group.rule = None
        return True

    def _group(self, parser: MultilineParser, name: str) -> _Group:
        return self._groups.setdefault((parser.name, name), _Group())


def _apply_rules(
    parser: MultilineParser, group: _Group, text: str, now: int, mark: int, record: Record | None, done: list[Message]
) -> bool:
    """Continue the message by the rules of the present state, or start one; False when no rule fits the line."""
    rule = next((r for r in _following(parser, group.rule) if not r.starts and r.regex.search(text)), None)
    if rule is not None:
        if group.text and not group.text.endswith("\n"):
            group.text += "\n"
        group.text += text or "\n"
        _register(group, now, mark, record)
    else:
        rule = next((r for r in parser.rules if r.starts and r.regex.search(text)), None)
        if rule is None:
            return False
        if group.text:
            done += _finish(parser, group)
        group.text = text
        _register(group, now, mark, record)
    group.rule = rule
    if group.text and any(r.starts for r in _following(parser, rule)):
        done += _finish(parser, group)
    return True


def _following(parser: MultilineParser, rule: Rule | None) -> list[Rule]:
    return [r for r in parser.rules if rule.next_state in r.states] if rule is not None else []


def _register(group: _Group, now: int, mark: int, record: Record | None) -> None:
    """The first line of a message gives it its time, its other keys and its place."""
    if not group.is_pending:
        group.time, group.record, group.mark = now, record, mark


def _end_line(parser: MultilineParser, group: _Group) -> None:
    """Lines that are plain text keep their line ends; content of a key comes with its own or has none."""
    if parser.key_content is None and group.text and not group.text.endswith("\n"):
        group.text += "\n"


def _finish(parser: MultilineParser, group: _Group) -> Iterator[Message]:
    """The gathered message, if there is one; the group is empty then. Its state stays, as in Fluent Bit."""
    if not group.is_pending:
        return
    _end_line(parser, group)
    key = parser.key_content or "log"
    record = {key: group.text} if group.record is None else {**group.record, key: group.text}
    message = (group.time, record, group.mark)
    group.text, group.record, group.mark = "", None, -1
    yield message
