"""Secrets in text that leaves: whatever holds a known value is shown with `***` in its place. Pure.

A value is found as it is, in the ways that logs write it (escaped, percent-encoded, in base64), and line by line when
it has several. No value is left in what comes out, not even one that only the masking of another would make.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import replace
from urllib.parse import quote

from headrace.types import Fault

MARK = "***"
SHORTEST = 4
"""Characters in the shortest value: one that is no longer than the mark cannot be masked."""
_SHORTEST_LINE = 8


class Mask:
    """The values of one moment; without any it changes nothing."""

    __slots__ = ("_found", "forms")

    def __init__(self, values: Iterable[str] = ()) -> None:
        forms = {form for value in values for form in _forms(value) if len(form) >= SHORTEST}
        self.forms = tuple(sorted(forms, key=lambda form: (-len(form), form)))
        """All that is looked for, the longest first."""
        # A look-ahead takes no text, so that values which overlap are all found.
        self._found = re.compile(f"(?=({'|'.join(map(re.escape, self.forms))}))") if forms else None

    def text(self, text: str) -> str:
        """The same without the values."""
        # Every round makes it shorter, since no form is as short as the mark.
        while self._found is not None and (spans := list(_merged(self._found, text))):
            parts: list[str] = []
            done = 0
            for start, end in spans:
                parts += (text[done:start], MARK)
                done = end
            text = "".join((*parts, text[done:]))
        return text

    def fault(self, fault: Fault) -> Fault:
        """The same without the values."""
        if self._found is None:
            return fault
        return replace(
            fault,
            message=self.text(fault.message),
            plugin=self.text(fault.plugin),
            property=self.text(fault.property),
            file=self.text(fault.file),
        )

    def any(self, value: object) -> object:
        """The same of whatever a log line has as a field."""
        match value:
            case str():
                return self.text(value)
            case list() | tuple():
                return [self.any(item) for item in value]
            case dict():
                return {key: self.any(item) for key, item in value.items()}
        return value


def _merged(found: re.Pattern[str], text: str) -> Iterator[tuple[int, int]]:
    """Where values are, those that overlap as one."""
    start = end = -1
    for match in found.finditer(text):
        here, there = match.span(1)
        if here >= end:
            if end >= 0:
                yield start, end
            start = here
        end = max(end, there)
    if end >= 0:
        yield start, end


def _forms(value: str) -> Iterator[str]:
    yield value
    yield json.dumps(value)[1:-1]
    yield json.dumps(value, ensure_ascii=False)[1:-1]
    yield repr(value)[1:-1]
    data = value.encode(errors="surrogateescape")
    yield quote(data, safe="")
    yield base64.b64encode(data).decode()
    lines = value.splitlines()
    if len(lines) > 1:
        yield from (line for line in lines if len(line) >= _SHORTEST_LINE and not line.startswith("-----"))
