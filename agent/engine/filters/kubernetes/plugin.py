"""The kubernetes filter: waits until what is known of a pod is there, and adds it to the pod's records.

Records whose metadata cannot be had in time pass without it, as in Fluent Bit; that is logged when it begins, and
counted in the log at the end.
"""

import time

from agent.engine.config import InvalidProperty
from agent.engine.filters.kubernetes.config import REFUSED, KubernetesConfig
from agent.engine.filters.kubernetes.merging import merged
from agent.engine.filters.kubernetes.metadata import STREAMS, Wishes
from agent.engine.filters.kubernetes.names import Names, read_names
from agent.engine.filters.kubernetes.source import Source
from agent.engine.parser import Parser
from agent.engine.plugin import Context, Emit, Wait
from agent.engine.record import Batch, copied
from agent.engine.registry import filters

MOST_TAGS = 10_000


@filters.register("kubernetes", KubernetesConfig, refused=REFUSED)
class Kubernetes:
    """Adds what Kubernetes knows of a record's pod."""

    def __init__(self, config: KubernetesConfig, context: Context) -> None:
        if not config.use_tag_for_meta and not context.may_emit:
            why = "a processor cannot wait for metadata; set it to on, or use kubernetes as a filter"
            raise InvalidProperty("use_tag_for_meta", why)
        self._config = config
        self._context = context
        self._parser = context.parser("merge_parser", config.merge_parser) if config.merge_parser else None
        self._tag_parser = context.parser("regex_parser", config.regex_parser) if config.regex_parser else None
        self._source = Source(config, context.log, time.monotonic)
        self._names: dict[str, Names | None] = {}
        self._parsers: dict[str, Parser | None] = {}
        self._without = 0

    def prepare(self, batch: Batch) -> Wait | None:
        names = self._names_of(batch.tag)
        return self._source.fetch(names) if names is not None and self._source.lacks(names) else None

    def process(self, batch: Batch, emit: Emit) -> Batch:
        names, source, config = self._names_of(batch.tag), self._source, self._config
        if names is None or not (source.wants_pods or source.wants_namespaces):
            return batch
        pod = source.pod(names) if source.wants_pods else None
        namespace = source.namespace(names) if source.wants_namespaces else None
        if (source.wants_pods and pod is None) or (source.wants_namespaces and namespace is None):
            self._without += len(batch)
        wishes = pod.wishes if pod is not None else Wishes()
        kept = []
        for at, record in enumerate(batch.records):
            streams = (stream,) if (stream := record.get("stream")) in STREAMS else STREAMS
            if all(wishes.excluded.get(one, False) for one in streams):
                continue
            kept.append(at)
            if config.merge_log:
                when, record = merged(record, config, self._parser_of(wishes, streams) or self._parser)
                if when is not None:
                    batch.times[at] = when or self._context.clock()
            if pod is not None:
                record["kubernetes"] = copied(pod.record)
            if namespace is not None:
                record["kubernetes_namespace"] = copied(namespace)
            batch.records[at] = record
        return batch.keep(kept)

    async def open(self) -> None:
        self._source.open()

    async def close(self) -> None:
        if self._without:
            self._context.log.warning("%d records passed without all of their metadata", self._without)
            self._without = 0

    def _names_of(self, tag: str) -> Names | None:
        if tag not in self._names:
            if len(self._names) >= MOST_TAGS:
                self._names.clear()
            self._names[tag] = read_names(tag, self._config.kube_tag_prefix, self._tag_parser)
            if self._names[tag] is None:
                self._context.log.warning("tag %r is of no container; its records pass as they are", tag)
        return self._names[tag]

    def _parser_of(self, wishes: Wishes, streams: tuple[str, ...]) -> Parser | None:
        """The parser that the pod asks for; for a record of no stream, only if it is the same for all."""
        asked = {wishes.parsers.get(one) for one in streams}
        name = asked.pop() if len(asked) == 1 else None
        if name is None:
            return None
        if name not in self._parsers:
            try:
                self._parsers[name] = self._context.parsers.get(name)
            except LookupError as error:
                self._parsers[name] = None
                self._context.log.warning("a pod asks for a parser: %s", error)
            self._context.parsers_used.add(name)
        return self._parsers[name]
