"""What Fluent Bit knows of its own configuration, as tables: what a section is called, needs, and may hold."""

import re

from headrace.config.model import Kind, Value

BLANK = " \t\n\v\f\r"
"""What is trimmed from both ends of a value, in either format."""

UNREADABLE = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""What a configuration text may not hold: control characters and lone surrogates."""

NAMED: dict[Kind, str] = {
    "custom": "plugin",
    "input": "plugin",
    "filter": "plugin",
    "output": "plugin",
    "processor": "plugin",
    "parser": "parser",
    "multiline_parser": "parser",
    "stream_processor": "task",
    "upstream_servers": "upstream",
}
"""The kinds of section that must have a `name`, and what it is the name of."""

MAPS: dict[Kind, tuple[str, str, tuple[str, ...]]] = {
    "multiline_parser": ("rules", "rule", ("state", "regex", "next_state")),
    "upstream_servers": ("nodes", "node", ("name", "host", "port")),
}
"""The kinds that hold a list of maps: its YAML key, the property that each map becomes, and what each must have."""

NESTED = frozenset({"routes", "telemetry"})
"""The properties whose values may be nested outside of processors."""

REPEATABLE: frozenset[Kind] = frozenset({"custom", "input", "filter", "output"})
"""The kinds whose properties may be lists of text."""

CLASSIC_HEADERS: dict[Kind, str] = {
    "service": "SERVICE",
    "input": "INPUT",
    "filter": "FILTER",
    "output": "OUTPUT",
    "custom": "CUSTOM",
    "parser": "PARSER",
    "multiline_parser": "MULTILINE_PARSER",
    "plugins": "PLUGINS",
    "upstream_servers": "UPSTREAM",
    "stream_processor": "STREAM_TASK",
}
"""What each kind is called in the classic format; the others have no place in it."""


def text_of_value(value: Value) -> str:
    """A single value as Fluent Bit writes it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return "null" if value is None else str(value)
