"""Whether the engines of the matching agents know the plugins, their properties, and what the values look like. Pure.

What every one of them refuses is an error; what only some refuse is a warning that names them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from controlplane.validate import required
from controlplane.validate.engines import Engines, Group
from controlplane.validate.findings import Finding, error, named, note, warning
from controlplane.validate.source import Source, is_open, texts_of
from controlplane.validate.values import is_refused, objection
from headrace.config import Property, Section, did_you_mean
from headrace.types import Fault


@dataclass(frozen=True, slots=True, kw_only=True)
class _Complaint:
    """What one group has against a place; equal ones of several groups become one fault.

    With an `unknown` word (looked for among `known`) the message goes on with whom it is not known to; without, it says
    whose engines it is about only where these are not all.
    """

    message: str
    section: Section
    prop: Property | None = None
    unknown: str | None = None
    known: tuple[str, ...] = ()
    is_refused: bool = True

    @property
    def key(self) -> tuple[object, ...]:
        place = self.prop.position if self.prop else self.section.position
        return place, self.message


def check_plugins(source: Source, engines: Engines) -> Iterator[Finding]:
    """Every complaint of every group, once."""
    for section in source.plugins():
        yield from (error(f"{_who(section)} {lack}", section) for lack in required.missing(section))
    merged: dict[tuple[object, ...], list[tuple[Group, _Complaint]]] = {}
    for group in engines.groups:
        for section in source.plugins():
            for complaint in _complaints(section, group, own_plugins=source.own_plugins):
                merged.setdefault(complaint.key, []).append((group, complaint))
    for complaints in merged.values():
        groups = list({id(group): group for group, _ in complaints}.values())
        everywhere = len(groups) == len(engines.groups) and not engines.partial
        yield _fault([complaint for _, complaint in complaints], groups, everywhere=everywhere)
    if source.own_plugins and engines.groups:
        yield note("plugins that the configuration loads itself are not checked")


def _complaints(section: Section, group: Group, *, own_plugins: bool) -> Iterator[_Complaint]:
    name = section.name or ""
    if not name or is_open(name):
        return
    who = _who(section)
    plugin = group.catalogue.plugin(section.kind, name)
    if plugin is None:
        if not own_plugins:
            known, place = group.catalogue.names(section.kind), section.find("name")
            yield _Complaint(message=f"{who} is not known to", section=section, prop=place, unknown=name, known=known)
        return
    given = {prop.name for prop in section.properties}
    for needed in (name for name, option in plugin.options.items() if option.required and name not in given):
        yield _Complaint(message=f"{who} needs {needed!r}", section=section)
    for prop in section.properties:
        option = plugin.option(prop.name)
        if prop.name == "name":
            continue
        if option is None:
            message, known = f"property {prop.name!r} of {who} is not known to", tuple(plugin.options)
            yield _Complaint(message=message, section=section, prop=prop, unknown=prop.name, known=known)
            continue
        for text in texts_of(prop):
            why = "" if is_open(text) else objection(prop.name, option.type, text)
            if why:
                yield _Complaint(
                    message=f"property {prop.name!r} of {who}: {why}",
                    section=section,
                    prop=prop,
                    is_refused=is_refused(group.engine, option.type),
                )


def _fault(complaints: list[_Complaint], groups: list[Group], *, everywhere: bool) -> Fault:
    complaint = complaints[0]
    agents = [agent for group in groups for agent in group.agents]
    whose = named(agents) if agents else str(groups[0])
    message = complaint.message
    if complaint.unknown is not None:
        message = f"{message} {whose}{did_you_mean(complaint.unknown, complaint.known)}"
    elif not everywhere:
        message = f"{message} (on {whose})"
    say = error if everywhere and all(each.is_refused for each in complaints) else warning
    return say(message, complaint.section, complaint.prop)


def _who(section: Section) -> str:
    return f"{section.kind} {section.name!r}"
