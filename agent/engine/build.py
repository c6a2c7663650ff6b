"""From a configuration to the parts of a pipeline: checks everything, opens nothing, keeps what already runs unchanged.

Every fault of every section is found. This is all that `--dry-run` does, and the first half of a start or a reload.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from typing import Any, TypeVar

from agent.engine.condition import condition
from agent.engine.config import InvalidProperty, read
from agent.engine.logs import PluginLog
from agent.engine.metrics import Sample
from agent.engine.parsers.table import ParserTable
from agent.engine.parts import FilterPart, InputPart, OutputPart, Part, Parts
from agent.engine.plugin import Context, FilterSettings, InputSettings, Listens, OutputSettings, Stop
from agent.engine.registry import Registration, Registry, filters, inputs, outputs, processors
from agent.engine.resources import Resources
from agent.engine.retry import parse_retry_limit
from agent.engine.router import tag_matcher
from agent.engine.service import Service
from headrace.config import Document, Fault, Section

AnyPart = TypeVar("AnyPart", bound=Part[Any])

REFUSED: Mapping[str, frozenset[str]] = {
    "input": frozenset(
        {
            "log_suppress_interval",
            "storage.pause_on_chunks_overlimit",
            "thread.ring_buffer.capacity",
            "thread.ring_buffer.window",
            "rate_window",
            "rate_gate",
            "rate_gate.max_bytes",
            "rate_gate.max_records",
            "rate_gate.backpressure",
            "rate_gate.resume_ratio",
        }
    ),
    "filter": frozenset({"log_suppress_interval"}),
    "output": frozenset({"log_suppress_interval"}),
}
"""Properties of every instance of a kind that Fluent Bit knows and this engine does not implement."""

NOT_BUILT = {
    "custom": "custom plugins",
    "extensions": "extensions",
    "plugins": "external plugins",
    "stream_processor": "stream processors",
    "upstream_servers": "upstream servers",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What the engine gives to every part."""

    clock: Callable[[], int]
    stop: Stop
    resources: Resources
    parsers: ParserTable
    service: Service
    own_metrics: Callable[[], list[Sample]]
    variables: Mapping[str, str]
    folder: Path = Path()


class Builder:
    """Builds the parts of one document; the result of `build` is only to be used when `faults` stays empty."""

    def __init__(self, document: Document, surroundings: Surroundings, running: Parts) -> None:
        self.faults: list[Fault] = []
        self._document = document
        self._around = surroundings
        self._running = running

    def build(self) -> Parts:
        document = self._document
        for section in document.sections:
            if section.kind in NOT_BUILT:
                self._fault(section, f"{NOT_BUILT[section.kind]} are not implemented by the embedded engine")
        alone = len(document.inputs) == 1 and len(document.outputs) == 1
        parts = Parts(
            self._each(document.inputs, self._running.inputs, self._input),
            self._each(document.filters, self._running.filters, self._filter),
            self._each(document.outputs, self._running.outputs, lambda s, name: self._output(s, name, alone=alone)),
        )
        self._check_addresses(parts)
        return parts

    def _check_addresses(self, parts: Parts) -> None:
        owners: dict[str, str] = {}
        for part in parts.all():
            address = part.plugin.listens_on if isinstance(part.plugin, Listens) else None
            if address is not None and (owner := owners.setdefault(address, part.name)) != part.name:
                self._fault(
                    part.section, f"{address} is where {owner!r} listens; give one of them another port or path"
                )

    def _each(
        self, sections: tuple[Section, ...], running: list[AnyPart], make: Callable[[Section, str], AnyPart | None]
    ) -> list[AnyPart]:
        """A part for each section: the running one that is the same, with the name it has, or a new one."""
        free, around = list(running), self._around
        kept: dict[int, AnyPart] = {}
        for at, section in enumerate(sections):
            same = next((p for p in free if p.matches(section, around.parsers, around.service, around.variables)), None)
            if same is not None:
                free.remove(same)
                kept[at] = same
        taken = {part.name for part in kept.values()}
        parts: list[AnyPart] = []
        for at, section in enumerate(sections):
            part = kept.get(at) or make(section, self._name(section, at, taken))
            if part is not None:
                parts.append(part)
        return parts

    def _name(self, section: Section, at: int, taken: set[str]) -> str:
        """The instance's name: its alias, or `plugin.N`, where N is its place among those of its kind.

        After a reload that place may be taken by an instance that goes on; then it is the next number that is free.
        """
        alias = section.get("alias")
        plugin = (section.name or "").lower()
        name = str(alias) if alias else next(n for i in count(at) if (n := f"{plugin}.{i}") not in taken)
        if name in taken:
            self._fault(
                section, f"another {section.kind} is called {name!r}, too; give one of them another alias", "alias"
            )
        taken.add(name)
        return name

    def _input(self, section: Section, name: str) -> InputPart | None:
        made = self._make(inputs, section, name, InputSettings)
        own = tuple(self._processors(section, name, made[1].tag if made is not None else name))
        if made is None or len(own) != len(section.processors):
            return None
        plugin, context, settings = made
        where = settings.storage_type or self._around.service.storage_type
        if where == "filesystem" and self._around.service.storage_path is None:
            self._fault(section, "storage.type filesystem needs 'storage.path' in the service section", "storage.type")
        return InputPart(
            name=name,
            section=section,
            plugin=plugin,
            context=context,
            settings=settings,
            durable=where == "filesystem",
            processors=own,
        )

    def _processors(self, section: Section, owner: str, tag: str | None = None) -> Iterator[FilterPart]:
        """`tag` is that of an input; outputs have none."""
        for number, processor in enumerate(section.processors):
            name, signal = f"{owner}.{processor.name}.{number}", processor.signal or "logs"
            registry = processors if (processor.name or "").lower() in processors else filters
            given = processor.find("condition") if signal == "logs" else None
            plain = replace(processor, properties=tuple(p for p in processor.properties if p is not given))
            try:
                when = condition(given.value) if given is not None else None
            except InvalidProperty as error:
                self._fault(processor, str(error), "condition")
                continue
            made = self._make(registry, plain, name, may_emit=False, may_hold=tag is not None, tag=tag)
            if made is None:
                continue
            taken = registry.find(processor.name or "").signals
            if signal not in taken:
                self._fault(processor, f"it is for {' and '.join(sorted(taken))}, and cannot process {signal}", "name")
            else:
                plugin, context, _ = made
                yield FilterPart(
                    name=name,
                    section=processor,
                    plugin=plugin,
                    context=context,
                    takes=lambda _tag: True,
                    condition=when,
                )

    def _filter(self, section: Section, name: str) -> FilterPart | None:
        made = self._make(filters, section, name, FilterSettings)
        if made is None:
            return None
        plugin, context, settings = made
        takes = self._matcher(section, settings.match, settings.match_regex)
        return FilterPart(name=name, section=section, plugin=plugin, context=context, takes=takes)

    def _output(self, section: Section, name: str, *, alone: bool) -> OutputPart | None:
        made = self._make(outputs, section, name, OutputSettings)
        own = tuple(self._processors(section, name))
        if made is None or len(own) != len(section.processors):
            return None
        plugin, context, settings = made
        try:
            limit = parse_retry_limit(settings.retry_limit)
        except ValueError as error:
            self._fault(section, f"property 'retry_limit': {error}", "retry_limit")
            return None
        no_match = settings.match is None and settings.match_regex is None
        takes = self._matcher(section, "*" if no_match and alone else settings.match, settings.match_regex)
        return OutputPart(
            name=name,
            section=section,
            plugin=plugin,
            context=context,
            settings=settings,
            takes=takes,
            retry_limit=limit,
            signals=outputs.find(section.name or "").signals,
            processors=own,
        )

    def _make(
        self,
        registry: Registry[Any],
        section: Section,
        name: str,
        settings: type | None = None,
        *,
        may_emit: bool = True,
        may_hold: bool = True,
        tag: str | None = None,
    ) -> tuple[Any, Context, Any] | None:
        """One instance with its context and settings, or None and the reasons in `faults`."""
        try:
            plugin: Registration[Any] = registry.find(section.name or "")
        except LookupError as error:
            self._fault(section, str(error), "name", label=False)
            return None
        shapes = (plugin.config, settings) if settings else (plugin.config,)
        found, faults = read(section, *shapes, refused=plugin.refused | REFUSED.get(section.kind, frozenset()))
        self.faults += faults
        if faults:
            return None
        level = getattr(found[-1], "log_level", None)
        context = Context(
            name=name,
            tag=tag or getattr(found[-1], "tag", None) or self._default_tag(section, name),
            log=PluginLog(registry.kind, plugin.name, name, level),
            clock=self._around.clock,
            stop=self._around.stop,
            resources=self._around.resources,
            parsers=self._around.parsers,
            escape_unicode=self._around.service.escape_unicode,
            multiline_limit=self._around.service.multiline_buffer_limit,
            folder=self._around.folder,
            own_metrics=self._around.own_metrics,
            variables=self._around.variables,
            may_emit=may_emit,
            may_hold=may_hold,
            tag_given=bool(getattr(found[-1], "tag", None)),
        )
        try:
            return plugin.make(found[0], context), context, found[-1]
        except InvalidProperty as error:
            self._fault(section, str(error), error.name)
            return None

    def _default_tag(self, section: Section, name: str) -> str:
        """`plugin.N`, also where there is an alias."""
        if not section.alias:
            return name
        place = next((at for at, other in enumerate(self._document.of_kind(section.kind)) if other is section), 0)
        return f"{(section.name or '').lower()}.{place}"

    def _matcher(self, section: Section, match: str | None, match_regex: str | None) -> Callable[[str], bool]:
        try:
            return tag_matcher(match, match_regex)
        except ValueError as error:
            self._fault(section, f"property 'match_regex': {error}", "match_regex")
            return lambda _tag: False

    def _fault(self, section: Section, message: str, name: str | None = None, *, label: bool = True) -> None:
        prop = section.find(name) if name else None
        who = f"{section.kind} {section.name!r}: " if label else ""
        self.faults.append(Fault(prop.position if prop else section.position, who + message))
