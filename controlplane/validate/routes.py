"""Whether records get from inputs to outputs: matches that take nothing, inputs that nobody takes. Pure.

Whatever may be so is taken to be so: a warning means that no record can ever go there.
"""

from __future__ import annotations

from collections.abc import Iterator

from controlplane.validate.findings import Finding, warning
from controlplane.validate.source import Source
from controlplane.validate.tags import ANYTHING, Meeting, emitted_tags, match_of, tags_of
from headrace.config import Document, Section, parse_bool


def check_routes(source: Source) -> Iterator[Finding]:
    """Warnings about the way of records, none where something else than tags decides on it."""
    document = source.document
    inputs, outputs = document.inputs, document.outputs
    if not document.customs:
        if not inputs:
            yield warning("there is no input, so nothing would be read")
        if not outputs:
            yield warning("there is no output, so nothing would be delivered")
    if not inputs or not outputs or _is_routed_otherwise(document):
        return
    meeting = Meeting()
    given = [(section, tags_of(section)) for section in inputs]
    tags = tuple(dict.fromkeys((*emitted_tags(source), *(tag for _, own in given for tag in own))))
    taken = [(section, _match(section, document)) for section in (*document.filters, *outputs)]
    for section, match in taken:
        if match is None:
            if section.kind == "output":
                message = f"output {section.name!r} has no 'match', so it takes nothing; '*' takes everything"
                yield warning(message, section)
        elif not meeting.any(tags, match):
            message = f"{section.kind} {section.name!r} takes tags {match!r}, which no input gives"
            yield warning(message, section, section.find("match"))
    matches = tuple(dict.fromkeys(match for section, match in taken if match is not None and _is_end(section)))
    for section, own in given:
        if _is_routable(section) and not any(meeting.any(own, match) for match in matches):
            message = f"no output takes the tag {own[0]!r} of input {section.name!r}"
            yield warning(message, section, section.find("tag"))


def _is_routed_otherwise(document: Document) -> bool:
    """Inputs may name their outputs themselves; stream processors and custom plugins make records of their own."""
    return (
        any(section.find("routes") for section in document.inputs)
        or bool(document.of_kind("stream_processor") or document.customs)
        or bool(document.service and document.service.find("streams_file"))
    )


def _match(section: Section, document: Document) -> str | None:
    match = match_of(section)
    if match is None and section.kind == "output" and len(document.inputs) == len(document.outputs) == 1:
        return ANYTHING  # Fluent Bit joins the two.
    return match


def _is_end(section: Section) -> bool:
    """Whether records may end there: at an output, or at a filter that makes others of them."""
    return section.kind == "output" or (section.name or "").lower() in ("rewrite_tag", "log_to_metrics")


def _is_routable(section: Section) -> bool:
    try:
        return parse_bool(section.get("routable", True))
    except ValueError:
        return True
