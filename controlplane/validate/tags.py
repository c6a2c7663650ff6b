"""Which tags records can have, as patterns in which `*` stands for anything, and whether a match takes any. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from controlplane.validate.source import Source, is_open, texts_of
from headrace.config import Section

_REFERENCE = re.compile(r"\$\{[^}]*\}|\$[A-Za-z0-9_]+(?:\[[^\]]*\])*|\$[0-9]|<[^>]*>")
"""What a tag may have in it that becomes something else: variables, placeholders of rules, names of captures."""

_OWN_TAGS = frozenset(
    {
        *("cpu", "disk", "dummy", "exec", "head", "health", "kmsg", "mem", "mqtt", "netif", "proc", "random"),
        *("serial", "stdin", "syslog", "systemd", "tail", "tcp", "thermal", "udp", "docker", "docker_events"),
        *("collectd", "statsd", "nginx_metrics", "node_exporter_metrics", "process_exporter_metrics", "podman_metrics"),
        *("fluentbit_metrics", "fluentbit_logs", "prometheus_scrape", "kubernetes_events", "winlog", "winevtlog"),
    }
)
"""Inputs whose records have the tag of their section; those of any other may take it from who sends them."""
ANYTHING = "*"
"""The pattern that every tag meets."""
_MOST_STEPS = 250_000


def tags_of(section: Section) -> tuple[str, ...]:
    """The tags that an input gives; without one of its own it is the plugin's name and a number, or the alias."""
    plugin = (section.name or "").lower()
    if plugin not in _OWN_TAGS:
        return (ANYTHING,)
    tag = section.get("tag")
    if tag:
        return (_pattern(tag) if isinstance(tag, str) else ANYTHING,)
    return tuple(_pattern(text) for text in (f"{plugin}.*", section.alias or "") if text)


def emitted_tags(source: Source) -> Iterator[str]:
    """The tags that filters and processors give to records which start anew."""
    for section in source.plugins():
        name = (section.name or "").lower()
        if section.kind not in ("filter", "processor"):
            continue
        if name == "rewrite_tag":
            for prop in section.properties:
                if prop.name == "rule":
                    yield from map(_emitted_by, texts_of(prop))
        elif name == "log_to_metrics":
            yield _pattern(str(section.get("tag") or ANYTHING))


def _emitted_by(rule: str) -> str:
    """A rule is a key, a regular expression, a tag and whether the record is kept, too."""
    words = rule.split()
    return _pattern(words[2]) if len(words) > 2 else ANYTHING


def match_of(section: Section) -> str | None:
    """What a filter or an output takes, as a pattern; None for nothing. Of a regular expression: anything."""
    match = section.get("match")
    if section.find("match_regex") or not isinstance(match, str | None):
        return ANYTHING
    return None if match is None else _pattern(match) if is_open(match) else match


class Meeting:
    """Whether two patterns have a text in common: each pair once, and in all a bounded number of steps.

    Where the bound is reached it says yes: nothing is warned of that was not shown.
    """

    def __init__(self) -> None:
        self._known: dict[tuple[str, str], bool] = {}
        self._steps = _MOST_STEPS

    def any(self, tags: Sequence[str], match: str) -> bool:
        """Whether the match takes one of the tags."""
        return match == ANYTHING or any(self._meet(tag, match) for tag in tags)

    def _meet(self, tag: str, match: str) -> bool:
        if tag in (match, ANYTHING):
            return True
        if (tag, match) not in self._known:
            self._steps -= (len(tag) + 1) * (len(match) + 1)
            self._known[tag, match] = self._steps < 0 or meets(tag, match)
        return self._known[tag, match]


def meets(one: str, other: str) -> bool:
    """Whether a text exists that both patterns take.

    Row by row: which starts of `other` can stand for the same text as a start of `one`.
    """
    row = [True]
    for character in other:
        row.append(row[-1] and character == ANYTHING)
    for left in one:
        before, row = row, [row[0] and left == ANYTHING]
        for at, right in enumerate(other):
            reached = before[at] and left == right
            reached = reached or (left == ANYTHING and before[at + 1]) or (left == ANYTHING and row[at])
            reached = reached or (right == ANYTHING and (row[at] or before[at + 1]))
            row.append(reached)
    return row[-1]


def _pattern(text: str) -> str:
    return re.sub(r"\*+", ANYTHING, _REFERENCE.sub(ANYTHING, text))
