"""What a manifest must be before anything else is asked about it: names, sizes, a selector that can be read. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from controlplane.labels import check_labels
from headrace import content, selector
from headrace.api import Manifest
from headrace.errors import InvalidError, LimitError
from headrace.limits import Limits
from headrace.names import validate_name

_LONGEST_TEXT = 4096


@dataclass(frozen=True, slots=True)
class Draft:
    """A manifest that may be considered, with what follows from it."""

    manifest: Manifest
    selector: selector.Selector
    data: bytes
    """The content's canonical bytes."""
    sha256: str


def admit(manifests: Sequence[Manifest], limits: Limits) -> list[Draft]:
    """Raises InvalidError or LimitError for the first manifest that cannot be considered."""
    for name, count in Counter(manifest.name for manifest in manifests).items():
        if count > 1:
            raise InvalidError(f"pipeline {name!r} is given {count} times; give it once")
    return [_admit(manifest, limits) for manifest in manifests]


def check_reason(reason: str) -> None:
    """Raises LimitError for a reason that is an essay."""
    if len(reason) > _LONGEST_TEXT:
        raise LimitError(f"the reason has {len(reason)} characters, the limit is {_LONGEST_TEXT}")


def _admit(manifest: Manifest, limits: Limits) -> Draft:
    validate_name(manifest.name, "pipeline name")
    what = f"pipeline {manifest.name!r}"
    try:
        chosen = selector.parse(manifest.selector)
    except InvalidError as error:
        raise InvalidError(f"{what}: {error.message}") from None
    check_labels(manifest.labels, f"{what}: labels")
    if len(manifest.description) > _LONGEST_TEXT:
        raise LimitError(f"{what}: the description has more than {_LONGEST_TEXT} characters")
    if not manifest.config.strip():
        raise InvalidError(f"{what}: its configuration is empty; give config or configFile")
    if manifest.secrets:
        names = ", ".join(repr(reference.name) for reference in manifest.secrets)
        raise InvalidError(f"{what}: it refers to secrets ({names}), which this version does not have; remove them")
    _check_size(what, "configuration", len(manifest.config.encode()), limits.configuration)
    _check_files(what, manifest, limits)
    data = content.canonical(content.content_of(manifest))
    _check_size(what, "content", len(data), limits.pipeline)
    return Draft(manifest, chosen, data, content.sha256_of(data))


def _check_files(what: str, manifest: Manifest, limits: Limits) -> None:
    seen: set[str] = set()
    for file in manifest.files:
        parts = file.name.split("/")
        if (
            file.name.startswith("/")
            or not file.name.isprintable()
            or {"", ".", ".."} & set(parts)
            or "\\" in file.name
        ):
            raise InvalidError(
                f"{what}: file name {file.name!r} must be a relative path inside the workload's folder, like "
                "'parsers.conf' or 'lua/filter.lua'"
            )
        if len(file.name) > 255 or len(parts) > 8:
            raise LimitError(f"{what}: file name {file.name[:40]!r}… is too long or too deep")
        if file.name in seen:
            raise InvalidError(f"{what}: file {file.name!r} is given twice")
        seen.add(file.name)
        _check_size(what, f"file {file.name!r}", len(file.content), limits.file)


def _check_size(what: str, part: str, size: int, limit: int) -> None:
    if size > limit:
        raise LimitError(f"{what}: its {part} has {size} bytes, the limit is {limit}")
