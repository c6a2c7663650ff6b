"""What a manifest must be before its configuration is looked at: names, labels, selector, sizes, files. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator

from controlplane.labels import check_labels
from controlplane.validate.findings import error
from headrace import selector
from headrace.api import Manifest
from headrace.content import Content, canonical
from headrace.errors import InvalidError
from headrace.file_names import DEEPEST, objection
from headrace.limits import Limits
from headrace.names import validate_name
from headrace.types import Fault

_LONGEST_TEXT = 4096
_LONGEST_ESCAPE = 6
"""Bytes that one byte of a configuration may become when it is sent; two are enough for one of a file."""


def manifest_faults(manifest: Manifest, limits: Limits) -> Iterator[Fault]:
    """Everything that is wrong with a manifest apart from what its configuration says."""
    yield from _refused(lambda: validate_name(manifest.name, "pipeline name"))
    yield from _refused(lambda: selector.parse(manifest.selector))
    yield from _refused(lambda: check_labels(manifest.labels, "labels"))
    if len(manifest.description) > _LONGEST_TEXT:
        yield error(f"the description has {len(manifest.description)} characters, the limit is {_LONGEST_TEXT}")
    if not manifest.config.strip():
        yield error("its configuration is empty; give config or configFile")
    yield from _file_faults(manifest)
    yield from _size_faults(manifest, limits)


def _refused(check: Callable[[], object]) -> Iterator[Fault]:
    try:
        check()
    except InvalidError as refusal:
        yield error(refusal.message)


def _file_faults(manifest: Manifest) -> Iterator[Fault]:
    counts = Counter(file.name for file in manifest.files)
    folders = {
        "/".join(parts[:depth])
        for parts in (name.split("/") for name in counts)
        for depth in range(1, min(len(parts), DEEPEST))
    }
    for name, count in counts.items():
        if wrong := objection(name):
            yield error(f"file name {_short(name)} {wrong}")
        if count > 1:
            yield error(f"file {_short(name)} is given {count} times; give it once")
        if name in folders:
            yield error(f"file {_short(name)} is also the folder of another file; rename one of them")


def _size_faults(manifest: Manifest, limits: Limits) -> Iterator[Fault]:
    try:
        config = len(manifest.config.encode())
    except UnicodeEncodeError:
        yield error("its configuration has halves of characters in it (lone surrogates); remove them")
        return
    yield from _too_large("configuration", config, limits.configuration)
    if len(manifest.files) > limits.files_per_pipeline:
        yield error(f"it has {len(manifest.files)} files, the limit is {limits.files_per_pipeline}")
    for file in manifest.files:
        yield from _too_large(f"file {_short(file.name)}", len(file.content), limits.file)
    largest = _LONGEST_ESCAPE * config + 2 * sum(len(file.content) for file in manifest.files)
    if largest > limits.pipeline and not any(objection(file.name) for file in manifest.files):
        content = Content(engine=manifest.engine, config=manifest.config, files=manifest.files)
        yield from _too_large("content, as it is sent,", len(canonical(content)), limits.pipeline)


def _too_large(part: str, size: int, limit: int) -> Iterator[Fault]:
    if size > limit:
        yield error(f"its {part} has {size} bytes, the limit is {limit}")


def _short(name: str) -> str:
    return repr(name) if len(name) <= 80 else f"{name[:80]!r}…"
