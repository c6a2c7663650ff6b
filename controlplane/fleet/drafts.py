"""Manifests on their way to become pipelines: the selector parsed, the canonical bytes and their hash. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from headrace import content, selector
from headrace.api import Manifest
from headrace.errors import InvalidError, LimitError
from headrace.names import validate_name

_LONGEST_REASON = 4096


@dataclass(frozen=True, slots=True)
class Draft:
    """A manifest, with what follows from it."""

    manifest: Manifest
    selector: selector.Selector
    data: bytes
    """The content's canonical bytes."""
    sha256: str


def check_unique(manifests: Sequence[Manifest]) -> None:
    """Raises InvalidError where two manifests are for one pipeline."""
    for name, count in Counter(manifest.name for manifest in manifests).items():
        if count > 1:
            raise InvalidError(f"pipeline {name!r} is given {count} times; give it once")


def draft_of(manifest: Manifest) -> Draft:
    """Raises InvalidError for a name or a selector that cannot be one."""
    name = validate_name(manifest.name, "pipeline name")
    data = content.canonical(content.content_of(manifest))
    try:
        return Draft(manifest, selector.parse(manifest.selector), data, content.sha256_of(data))
    except InvalidError as error:
        raise InvalidError(f"pipeline {name!r}: {error.message}") from None


def check_reason(reason: str) -> None:
    """Raises LimitError for a reason that is an essay."""
    if len(reason) > _LONGEST_REASON:
        raise LimitError(f"the reason has {len(reason)} characters, the limit is {_LONGEST_REASON}")
