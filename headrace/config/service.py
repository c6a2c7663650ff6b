"""The service section of a managed pipeline: what management needs wins, and what it displaced is told."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from headrace.config.model import Document, Position, Property, Section, Value

MANAGED = Position("(managed)", 1, 1)
"""Where a property comes from that no text holds."""


@dataclass(frozen=True, slots=True)
class Overridden:
    """A key of the user's service section that has another value now."""

    key: str
    user_value: Value
    managed_value: str
    position: Position


def merge_service(document: Document, overrides: Mapping[str, str]) -> tuple[Document, tuple[Overridden, ...]]:
    """The document with these service keys in place of its own, and each of its own that said something else.

    Keys are in lower case. The user's other keys stay as they are.
    """
    service = document.service or Section(kind="service", position=MANAGED)
    overridden = tuple(
        Overridden(prop.name, prop.value, overrides[prop.name], prop.position)
        for prop in service.properties
        if prop.name in overrides and prop.value != overrides[prop.name]
    )
    kept = tuple(prop for prop in service.properties if prop.name not in overrides)
    managed = tuple(Property(name, value, MANAGED) for name, value in overrides.items())
    return replace(document, service=replace(service, properties=kept + managed)), overridden
