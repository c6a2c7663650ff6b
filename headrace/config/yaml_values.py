"""What YAML nodes may be where Fluent Bit reads them: text, lists, maps and typed values; anything else is a fault.

A property's value is the text that was written, whatever it looks like. Types exist only inside nested values (those of
processors, `routes`, `telemetry` and `extensions`), and there only for plain `true`, `false`, `null` and numbers.
"""

import re
from collections.abc import Iterator

from headrace.config.draft import Draft
from headrace.config.model import Value
from headrace.config.tables import BLANK
from headrace.config.yaml_nodes import List, Map, Node, Scalar

_INTEGER = re.compile(r"[+-]?[0-9]{1,19}")
_NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
_CAPITAL = re.compile(r"(?<!^)(?=[A-Z])")
_WORDS: dict[str, bool | None] = {"true": True, "false": False, "null": None}


def property_name(key: str) -> str:
    """The name of a property from its key: in lower case, and `readFromHead` is `read_from_head` as in Fluent Bit."""
    key = key.strip(BLANK)
    return (_CAPITAL.sub("_", key) if key[:1].islower() and "_" not in key else key).lower()


def typed(text: str) -> Value:
    """What a plain nested scalar stands for."""
    if text in _WORDS:
        return _WORDS[text]
    if _INTEGER.fullmatch(text):
        return int(text)
    if _NUMBER.fullmatch(text) and abs(number := float(text)) != float("inf"):
        return number
    return text


def text_of(draft: Draft, node: Node, what: str) -> str | None:
    """The text of a scalar; None, and a fault, when it is something else."""
    if isinstance(node, Scalar):
        return node.text
    draft.fault(node.position, f"{what} must be text, not {_shape(node)}")
    return None


def items_of(draft: Draft, node: Node, what: str) -> tuple[Node, ...]:
    """The items of a list; none, and a fault, when it is something else."""
    if isinstance(node, List):
        return node.items
    draft.fault(node.position, f"{what} must be a list, not {_shape(node)}; start each entry with '- '")
    return ()


def maps_of(draft: Draft, node: Node, what: str) -> Iterator[Map]:
    """The maps of a list of them; what is something else is left out, and a fault. `what` is singular."""
    for item in items_of(draft, node, f"{what}s"):
        if isinstance(item, Map):
            yield item
        else:
            draft.fault(item.position, f"each {what} must be a map of 'key: value' lines, not {_shape(item)}")


def pairs_of(draft: Draft, node: Node, what: str) -> tuple[tuple[Scalar, Node], ...]:
    """The pairs of a map; none, and a fault, when it is something else."""
    if isinstance(node, Map):
        return node.items
    draft.fault(node.position, f"{what} must be a map of 'key: value' lines, not {_shape(node)}")
    return ()


def texts_of(draft: Draft, node: Node, what: str) -> dict[str, str]:
    """A map of text by property name, each value trimmed; what is not text is a fault."""
    texts: dict[str, str] = {}
    for key, value in pairs_of(draft, node, what):
        name = property_name(key.text)
        if name in texts:
            draft.fault(key.position, f"{name!r} is given twice in {what}")
        elif (text := text_of(draft, value, f"{name!r} of {what}")) is not None:
            texts[name] = text.strip(BLANK)
    return texts


def value_of(draft: Draft, node: Node) -> Value:
    """A nested value with its types. A key that occurs twice is a fault."""
    match node:
        case Scalar():
            return typed(node.text) if node.plain else node.text
        case List():
            return tuple(value_of(draft, item) for item in node.items)
    values: dict[str, Value] = {}
    for key, item in node.items:
        if key.text in values:
            draft.fault(key.position, f"{key.text!r} is given twice in one map")
        values[key.text] = value_of(draft, item)
    return values


def take(draft: Draft, node: Map, name: str) -> tuple[Node | None, Map]:
    """The value under the key `name`, and the map without it. A key that occurs twice is a fault."""
    taken = [pair for pair in node.items if pair[0].text == name]
    for key, _ in taken[1:]:
        draft.fault(key.position, f"{name!r} is given twice in one map")
    rest = tuple(pair for pair in node.items if pair[0].text != name)
    return taken[0][1] if taken else None, Map(rest, node.position)


def _shape(node: Node) -> str:
    match node:
        case Scalar():
            return f"the text {node.text!r}" if node.text else "nothing"
        case List():
            return "a list"
    return "a map"
