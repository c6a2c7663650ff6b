"""What is desired, and who is there, in memory: the plane's counters, pipelines, agents and variables of one revision.

The store is the truth; a view is a copy of one consistent moment of it, and `apply` moves it to a later one. Batches
may come twice or late: an older one is ignored. Pure, and small: an agent costs its row, a pipeline the one encoded
`Desired` that every stream shares.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace

from controlplane.model import AgentRow, AuthorityRow, PipelineRow, PlaneRow, SecretRow, VariableRow
from controlplane.plan import Known
from headrace import codec, content, selector
from headrace.digests import facts_digest
from headrace.limits import DEFAULT_LIMITS, Limits
from headrace.messages import Remove
from headrace.types import AgentState

ABSENT = frozenset({AgentState.GONE, AgentState.REVOKED})
"""The states of agents that nothing is desired of."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Rows that changed up to one moment; with `everything`, all there are."""

    plane: PlaneRow
    pipelines: tuple[PipelineRow, ...] = ()
    contents: Mapping[str, bytes] = field(default_factory=dict)
    agents: tuple[AgentRow, ...] = ()
    missing_agents: frozenset[str] = frozenset()
    variables: tuple[VariableRow, ...] | None = None
    secrets: tuple[SecretRow, ...] | None = None
    commands: frozenset[str] = frozenset()
    authorities: Trust | None = None
    everything: bool = False


@dataclass(frozen=True, slots=True)
class Trust:
    """The authorities of agents' certificates, oldest first, and the certificates that the newest did not sign."""

    authorities: tuple[AuthorityRow, ...] = ()
    older: Mapping[str, str] = field(default_factory=dict)
    """Of those that are not revoked, by serial, the fingerprint of who signed it."""

    @property
    def trusted(self) -> tuple[AuthorityRow, ...]:
        """The one that signs first."""
        return tuple(row for row in reversed(self.authorities) if row.ended_at is None)


@dataclass(frozen=True, slots=True)
class Delta:
    """What a reader of the view has not looked at yet, by key."""

    pipelines: frozenset[str] = frozenset()
    agents: frozenset[str] = frozenset()
    commands: frozenset[str] = frozenset()
    secrets: frozenset[str] = frozenset()
    variables: bool = False
    epoch: bool = False
    authorities: bool = False
    everything: bool = False

    def __or__(self, other: Delta) -> Delta:
        return Delta(
            pipelines=self.pipelines | other.pipelines,
            agents=self.agents | other.agents,
            commands=self.commands | other.commands,
            secrets=self.secrets | other.secrets,
            variables=self.variables or other.variables,
            epoch=self.epoch or other.epoch,
            authorities=self.authorities or other.authorities,
            everything=self.everything or other.everything,
        )


@dataclass(frozen=True, slots=True)
class PipelineView:
    """A pipeline with its selector compiled and its messages encoded."""

    row: PipelineRow
    selector: selector.Selector
    desired: bytes
    """Empty for a tombstone."""
    remove: bytes
    secrets: frozenset[str] = frozenset()
    """The names of those that its content refers to."""

    @property
    def known(self) -> Known:
        return Known(self.row.generation, self.row.deleted)

    def matches(self, agent: AgentView) -> bool:
        """Whether the agent should run it."""
        return not self.row.deleted and agent.present and self.selector.matches(agent.labels)


@dataclass(frozen=True, slots=True)
class AgentView:
    """An agent with its effective labels and the digest of its facts."""

    row: AgentRow
    labels: Mapping[str, str]
    digest: str

    @property
    def present(self) -> bool:
        return self.row.state not in ABSENT


class View:
    """The state as of `plane.fleet_revision`; not thread-safe, used from one event loop."""

    def __init__(self, *, limits: Limits = DEFAULT_LIMITS) -> None:
        self._limits = limits
        self._unseen = Delta()
        self.plane = PlaneRow(instance_id="", epoch=0, fleet_revision=0, generation=0)
        self.pipelines: dict[str, PipelineView] = {}
        self.agents: dict[str, AgentView] = {}
        self.variables: tuple[tuple[VariableRow, selector.Selector], ...] = ()
        self.secrets: Mapping[str, SecretRow] = {}
        self.trust = Trust()
        self._with_secrets: frozenset[str] = frozenset()

    def is_at(self, plane: PlaneRow) -> bool:
        """Whether the view is at this moment, or past it; revisions and epochs of one instance only grow."""
        moment, seen = (plane.epoch, plane.fleet_revision), (self.plane.epoch, self.plane.fleet_revision)
        return plane.instance_id == self.plane.instance_id and moment <= seen

    def apply(self, batch: Batch) -> None:
        """Moves on to the batch's moment; a batch of an earlier one changes nothing."""
        if self.is_at(batch.plane):
            return
        if batch.everything:
            self.pipelines.clear()
            self.agents.clear()
        for pipeline in batch.pipelines:
            self.pipelines[pipeline.name] = self._pipeline(pipeline, batch.contents)
        for agent in batch.agents:
            plain = not (agent.token_labels or agent.operator_labels)
            labels = agent.facts.labels if plain else agent.labels
            self.agents[agent.id] = AgentView(agent, labels, facts_digest(agent.facts))
        for gone in batch.missing_agents:
            self.agents.pop(gone, None)
        if batch.variables is not None:
            self.variables = tuple((row, selector.parse(row.selector or "*")) for row in batch.variables)
        changed = self._take_secrets(batch.secrets)
        self._with_secrets = frozenset(name for name, pipeline in self.pipelines.items() if pipeline.secrets)
        if batch.authorities is not None:
            self.trust = batch.authorities
        self._unseen |= Delta(
            pipelines=frozenset(row.name for row in batch.pipelines),
            agents=frozenset(row.id for row in batch.agents) | batch.missing_agents,
            commands=batch.commands,
            secrets=changed,
            variables=batch.variables is not None,
            authorities=batch.authorities is not None,
            epoch=bool(self.plane.instance_id) and batch.plane.epoch != self.plane.epoch,
            everything=batch.everything,
        )
        self.plane = batch.plane

    def take(self) -> Delta:
        """What changed since the last call; for the one reader that acts on it."""
        delta, self._unseen = self._unseen, Delta()
        return delta

    def present(self) -> Iterator[AgentView]:
        """The agents that something may be desired of."""
        return (agent for agent in self.agents.values() if agent.present)

    def matching(self, chosen: selector.Selector) -> list[AgentView]:
        """The present agents with such labels."""
        return [agent for agent in self.present() if chosen.matches(agent.labels)]

    def wanted(self, agent: AgentView) -> dict[str, int]:
        """The generation of every pipeline that the agent should run."""
        return {name: view.row.generation for name, view in self.pipelines.items() if view.matches(agent)}

    def known(self, names: Iterable[str]) -> dict[str, Known]:
        """Those of the names that this instance knows, tombstones too."""
        return {name: self.pipelines[name].known for name in names if name in self.pipelines}

    def values(self, agent: AgentView) -> dict[str, str]:
        """The operators' variables for this agent; of several for one name, the most specific selector's."""
        return {row.name: row.value for row, chosen in self.variables if chosen.matches(agent.labels)}

    def naming(self, secrets: frozenset[str]) -> list[str]:
        """The pipelines that refer to one of these secrets."""
        return sorted(name for name in self._with_secrets if self.pipelines[name].secrets & secrets)

    def secrets_of(self, agent: AgentView) -> frozenset[str]:
        """The names of the secrets that the pipelines refer to which the agent should run."""
        wanted = (self.pipelines[name] for name in self._with_secrets)
        return frozenset[str]().union(*(pipeline.secrets for pipeline in wanted if pipeline.matches(agent)))

    def find(self, agent: str) -> list[AgentView]:
        """The agent with this id, else those with this name, those that are there before those that went."""
        if agent in self.agents:
            return [self.agents[agent]]
        named = [view for view in self.agents.values() if view.row.name == agent]
        return [view for view in named if view.present] or named

    def with_labels(self, agent: AgentView, labels: Mapping[str, str]) -> AgentView:
        """The agent as it would be with other effective labels."""
        return replace(agent, labels=labels)

    def _take_secrets(self, rows: tuple[SecretRow, ...] | None) -> frozenset[str]:
        """The names of those that are another now."""
        if rows is None:
            return frozenset()
        before, self.secrets = self.secrets, {row.name: row for row in rows if not row.deleted}
        names = before.keys() | self.secrets.keys()
        return frozenset(name for name in names if before.get(name) != self.secrets.get(name))

    def _pipeline(self, row: PipelineRow, contents: Mapping[str, bytes]) -> PipelineView:
        desired, secrets = b"", frozenset[str]()
        if not row.deleted:
            message = content.desired_of(row.name, row.generation, contents[row.sha256], self._limits)
            desired = codec.encode_server(message)
            secrets = content.secret_names(contents[row.sha256])
        remove = Remove(pipeline=row.name, generation=row.generation, purge=row.purge)
        return PipelineView(row, selector.parse(row.selector), desired, codec.encode_server(remove), secrets)
