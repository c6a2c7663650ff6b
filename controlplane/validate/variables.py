"""Whether every variable that a configuration refers to has a value on every matching agent. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from controlplane.validate.facts import AgentFacts
from controlplane.validate.findings import Finding, error_at, named
from controlplane.validate.source import Source
from headrace.config import Reference, did_you_mean
from headrace.variables import AGENT_VARIABLE, LABEL_PREFIX, PASSED_ON, label_variable, objection


def check_variables(
    source: Source, agents: Sequence[AgentFacts], set_for: Mapping[str, Mapping[str, str]]
) -> Iterator[Finding]:
    """One error for each variable that is missing anywhere, or is not given to an engine, at its first place."""
    carriers_of_secrets = {reference.env for reference in source.manifest.secrets}
    needed: dict[str, Reference] = {}
    refused: dict[str, Reference] = {}
    for reference in source.variables:
        if objection(reference.name):
            refused.setdefault(reference.name, reference)
        elif reference.default is None and reference.name not in PASSED_ON | carriers_of_secrets:
            needed.setdefault(reference.name, reference)
    for name, reference in refused.items():
        yield error_at(objection(name), reference.position)
    if not needed:
        return
    labels = {key for agent in agents for key in agent.labels}
    for name, reference in needed.items():
        carriers = [key for key in labels if label_variable(key) == name]
        lacking = [
            agent
            for agent in agents
            if name != AGENT_VARIABLE
            and not set_for.get(agent.id, {}).get(name)
            and not any(agent.labels.get(key) for key in carriers)
        ]
        if lacking:
            first = min(lacking, key=lambda agent: agent.id)
            known = {AGENT_VARIABLE, *map(label_variable, first.labels), *set_for.get(first.id, ())}
            near = sorted(other for other in known if other.startswith(LABEL_PREFIX) == name.startswith(LABEL_PREFIX))
            advice = f"; set it for a selector that matches, or write ${{{name}:-default}}"
            message = f"variable {name!r} is not set for {named(lacking)}{did_you_mean(name, near) or advice}"
            yield error_at(message, reference.position)


def value_of(name: str, agent: AgentFacts, set_for: Mapping[str, str]) -> str:
    """What a variable is on an agent; empty when it is not known here, as what agents pass on is not."""
    if name in PASSED_ON:
        return ""
    if set_for.get(name):
        return set_for[name]
    if name == AGENT_VARIABLE:
        return agent.name
    if name.startswith(LABEL_PREFIX):
        return next((value for key, value in agent.labels.items() if label_variable(key) == name), "")
    return ""
