"""Kubernetes' label-selector language: which agents a pipeline is for.

`role=edge,region in (eu,us),!canary`: requirements joined by commas, all of which must hold. `*` alone selects
everything; Kubernetes writes that as an empty text, which is refused here: leaving one out must not mean the fleet.
Pure: parsing costs no more than the text is long, matching no more than the requirements are many.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import NoReturn

from headrace.config.suggest import did_you_mean
from headrace.errors import InvalidError
from headrace.names import validate_label_key, validate_label_value

MAX_LENGTH = 4096
"""Characters in a selector."""


class Operator(StrEnum):
    """How a requirement looks at one label. `=`, `==` and `!=` are `in` and `notin` with one value."""

    IN = "in"
    NOT_IN = "notin"
    EXISTS = "exists"
    ABSENT = "absent"
    ABOVE = ">"
    BELOW = "<"


@dataclass(frozen=True, slots=True, order=True)
class Requirement:
    """What one label must be. `values` are sorted and distinct; a comparison has one, which is a whole number."""

    key: str
    operator: Operator
    values: tuple[str, ...] = ()

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Whether the labels meet it. As in Kubernetes, `!=` and `notin` hold where there is no such label."""
        value = labels.get(self.key)
        match self.operator:
            case Operator.EXISTS:
                return value is not None
            case Operator.ABSENT:
                return value is None
            case Operator.IN:
                return value in self.values
            case Operator.NOT_IN:
                return value not in self.values
            case Operator.ABOVE:
                return value is not None and _is_integer(value) and int(value) > int(self.values[0])
            case Operator.BELOW:
                return value is not None and _is_integer(value) and int(value) < int(self.values[0])

    def __str__(self) -> str:
        match self.operator:
            case Operator.EXISTS:
                return self.key
            case Operator.ABSENT:
                return f"!{self.key}"
            case Operator.ABOVE | Operator.BELOW:
                return f"{self.key}{self.operator}{self.values[0]}"
        if len(self.values) == 1:
            return f"{self.key}{'=' if self.operator is Operator.IN else '!='}{self.values[0]}"
        return f"{self.key} {self.operator} ({','.join(self.values)})"


@dataclass(frozen=True, slots=True)
class Selector:
    """Requirements that must all hold, sorted and distinct; none at all is everything. `str()` is its one text."""

    requirements: tuple[Requirement, ...]

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Whether an agent with these labels is selected."""
        return all(requirement.matches(labels) for requirement in self.requirements)

    def __str__(self) -> str:
        return ",".join(map(str, self.requirements)) or "*"


class SelectorError(InvalidError):
    """A text that is no selector; `column` counts from 1, and `excerpt` shows the text with a caret under it."""

    def __init__(self, text: str, offset: int, reason: str) -> None:
        self.text = text
        self.column = offset + 1
        self.reason = reason
        super().__init__(f"selector {text!r}, column {self.column}: {reason}")

    @property
    def excerpt(self) -> str:
        return f"{self.text}\n{' ' * (self.column - 1)}^"


def parse(text: str) -> Selector:
    """Read a selector. Raises SelectorError."""
    if len(text) > MAX_LENGTH:
        raise SelectorError(f"{text[:40]}…", 0, f"it has {len(text)} characters, and may have {MAX_LENGTH}")
    if not text.strip(_SPACE):
        raise SelectorError(text, 0, "it is empty; write '*' to select every agent, or labels such as 'role=edge'")
    if text.strip(_SPACE) == "*":
        return Selector(())
    return Selector(tuple(sorted(set(_Parser(text).requirements()))))


_SPACE = " \t\r\n"
_TOKEN = re.compile(r"[ \t\r\n]*(?:(?P<symbol>!=|==|[=!(),<>])|(?P<word>[^ \t\r\n=!(),<>]+)|(?P<end>$))")
_INTEGER = re.compile(r"-?[0-9]{1,19}")

# What people write who think of another language, and what they mean.
_HINTS = {
    "and": "join requirements with ','",
    "&&": "join requirements with ','",
    "&": "join requirements with ','",
    "or": "write 'key in (a,b)', or one pipeline for each",
    "||": "write 'key in (a,b)', or one pipeline for each",
    "not": "write '!key', 'key!=value' or 'key notin (a,b)'",
    ";": "join requirements with ','",
}


class _Parser:
    """Recursive descent over one text, one token ahead. Whether `in` is a word or an operator depends on its place."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.token = ""
        self.start = self.end = 0
        self.is_word = False
        self.advance()

    def advance(self) -> None:
        match = _TOKEN.match(self.text, self.end)
        assert match is not None  # every character is a blank, a symbol or part of a word
        kind = match.lastgroup or "end"
        self.token, self.start, self.end = match[kind], match.start(kind), match.end()
        self.is_word = kind == "word"

    def requirements(self) -> list[Requirement]:
        found = [self.requirement()]
        while self.take(","):
            found.append(self.requirement())
        if self.token:
            self.fail("expected ',' or the end")
        return found

    def requirement(self) -> Requirement:
        if self.take("!"):
            key = self.key()
            if self.token and self.token != ",":
                self.fail(f"'!{key}' says that there is no such label and takes no value; for a value write '{key}!=…'")
            return Requirement(key, Operator.ABSENT)
        key = self.key()
        operator = self.token
        if operator in ("", ","):
            return Requirement(key, Operator.EXISTS)
        if self.take("=") or self.take("=="):
            return Requirement(key, Operator.IN, (self.value(),))
        if self.take("!="):
            return Requirement(key, Operator.NOT_IN, (self.value(),))
        if self.take("in") or self.take("notin"):
            return Requirement(key, Operator(operator), self.values())
        if self.take(">") or self.take("<"):
            return Requirement(key, Operator(operator), (self.integer(),))
        self.fail("expected one of = == != in notin > < or ','")

    def take(self, token: str) -> bool:
        """Go past the next token when it is this one."""
        if self.token != token:
            return False
        self.advance()
        return True

    def key(self) -> str:
        if not self.is_word:
            self.fail("expected a label's key")
        return self.checked(validate_label_key)

    def value(self) -> str:
        """One value; none before a comma, a bracket or the end is the empty one."""
        return self.checked(validate_label_value) if self.is_word else ""

    def values(self) -> tuple[str, ...]:
        """Values in brackets, at least one of them written."""
        opening = self.start
        if not self.take("("):
            self.fail("expected '(' and the values, as in 'region in (eu,us)'")
        if self.token == ")":
            self.fail("expected at least one value between '(' and ')'")
        found = [self.value()]
        while self.take(","):
            found.append(self.value())
        if not self.take(")"):
            self.fail(f"expected ',' or the ')' that closes column {opening + 1}")
        return tuple(sorted(set(found)))

    def integer(self) -> str:
        if not _is_integer(self.token):
            self.fail("expected a whole number to compare with")
        return self.checked(validate_label_value)

    def checked(self, validate: Callable[[str], str]) -> str:
        """The word, if it may stand here."""
        if "*" in self.token:
            self.fail("there are no wildcards; 'key' alone takes any value, and '*' alone every agent")
        try:
            word = validate(self.token)
        except InvalidError as error:
            hint = "; a value is given as key=value" if ":" in self.token else ""
            raise SelectorError(self.text, self.start, error.message + hint) from None
        self.advance()
        return word

    def fail(self, reason: str) -> NoReturn:
        found = repr(self.token) if self.token else "the end"
        hint = _HINTS.get(self.token.lower()) or did_you_mean(self.token, ("in", "notin")).removeprefix("; ")
        raise SelectorError(self.text, self.start, f"found {found}: {reason}{f'; {hint}' if hint else ''}")


def _is_integer(text: str) -> bool:
    return _INTEGER.fullmatch(text) is not None
