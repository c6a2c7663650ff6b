"""Tags made of file names, as the tail input does it (pure)."""

import re
from collections.abc import Callable

_PLACE = re.compile(r"<([^<>]*)>")


def expand_tag(tag: str, path: str) -> str:
    """Put the path in place of the first `*`: separators become dots, no dot doubled, none at the ends made by it."""
    head, star, tail = tag.partition("*")
    if not star:
        return tag
    name = head + path + tail
    name = re.sub(r"[/\\:]", ".", name.lstrip("/\\:")).replace("*", "")
    return re.sub(r"\.{2,}", ".", name).removesuffix(".")


def tag_maker(tag: str, tag_regex: re.Pattern[str] | None) -> Callable[[str], str | None]:
    """A function from a file's path to its tag; None where `tag_regex` does not match."""
    if tag_regex is None:
        return lambda path: expand_tag(tag, path)

    def make(path: str) -> str | None:
        found = tag_regex.search(path)
        if found is None:
            return None
        groups = found.groupdict()
        return _PLACE.sub(lambda place: groups.get(place[1]) or "_", tag)

    return make
