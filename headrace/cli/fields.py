"""Reading a tree of YAML nodes by what it should hold: every surprise becomes a fault with its position. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from headrace.config import did_you_mean
from headrace.config.draft import Draft
from headrace.config.yaml_nodes import Map, Node, Scalar
from headrace.errors import InvalidError


class Fields:
    """Notes faults in a draft and goes on with what is empty."""

    def __init__(self, draft: Draft) -> None:
        self.draft = draft

    def take(self, node: Node | None, known: Sequence[str], what: str) -> dict[str, Node]:
        """The values of a map by their keys, which are among the known ones."""
        fields = {}
        for key, value in self.pairs(node, what):
            if key.text not in known:
                hint = did_you_mean(key.text, known) or f"; it takes {', '.join(known)}"
                self.draft.fault(key.position, f"{what} has no key {key.text!r}{hint}")
            else:
                fields[key.text] = value
        return fields

    def pairs(self, node: Node | None, what: str) -> tuple[tuple[Scalar, Node], ...]:
        """The pairs of a map, each key once; nothing of an empty node."""
        if node is None or (isinstance(node, Scalar) and not node.text):
            return ()
        if not isinstance(node, Map):
            self.draft.fault(node.position, f"{what} must be a map of 'key: value' pairs")
            return ()
        seen: dict[str, tuple[Scalar, Node]] = {}
        for key, value in node.items:
            if key.text in seen:
                line = seen[key.text][0].position.line
                self.draft.fault(key.position, f"{what} has {key.text!r} twice; first on line {line}")
            seen[key.text] = (key, value)
        return tuple(seen.values())

    def required(self, node: Node, fields: dict[str, Node], key: str, what: str, hint: str = "") -> Node | None:
        """A field that must be there and not be empty; `node` is the map that it should be in."""
        found = fields.get(key)
        if found is None:
            if isinstance(node, Map):
                self.draft.fault(node.position, f"{what} has no {key!r}{hint}")
        elif isinstance(found, Scalar) and not found.text:
            self.draft.fault(found.position, f"{key!r} of {what} is empty{hint}")
            return None
        return found

    def text(self, node: Node | None, what: str) -> str:
        """The text of a scalar as it is written, whatever YAML would make of it; empty for no node."""
        if node is None:
            return ""
        if not isinstance(node, Scalar):
            self.draft.fault(node.position, f"{what} must be text, not a map or list")
            return ""
        return node.text

    def checked(self, node: Node | None, check: Callable[[str], object], what: str) -> str:
        """The text of a scalar that passes the check, which raises InvalidError."""
        text = self.text(node, what)
        if isinstance(node, Scalar):
            try:
                check(text)
            except InvalidError as error:
                self.draft.fault(node.position, error.message)
        return text
