"""Which tags a filter or an output takes (pure): `match` with wildcards, or `match_regex`.

A `*` in `match` stands for any characters, also none; everything else is literal. `match_regex` must match at the start
of the tag. With both, either is enough.
"""

import re
from collections.abc import Callable, Sequence
from typing import TypeVar

from agent.engine.regex import compile_regex

Target = TypeVar("Target")


def tag_matcher(match: str | None, match_regex: str | None = None) -> Callable[[str], bool]:
    """A predicate on tags. Raises ValueError when `match_regex` is not a regular expression."""
    wildcard = re.compile(".*".join(map(re.escape, match.split("*"))), re.DOTALL) if match is not None else None
    regex = compile_regex(match_regex) if match_regex is not None else None

    def matches(tag: str) -> bool:
        if wildcard is not None and wildcard.fullmatch(tag):
            return True
        found = regex.match(tag) if regex is not None else None
        return found is not None and found.end() > 0

    return matches


class Routes(list[tuple[Callable[[str], bool], Target]]):
    """An ordered list of (predicate, target) that remembers which targets a tag has."""

    LIMIT = 10_000

    def __init__(self, targets: Sequence[tuple[Callable[[str], bool], Target]]) -> None:
        super().__init__(targets)
        self._known: dict[str, tuple[Target, ...]] = {}

    def of(self, tag: str) -> tuple[Target, ...]:
        """The targets whose predicate holds for `tag`, in order."""
        known = self._known.get(tag)
        if known is None:
            if len(self._known) >= self.LIMIT:  # tags can be made of file names or record fields: keep this bounded
                self._known.clear()
            known = self._known[tag] = tuple(target for matches, target in self if matches(tag))
        return known
