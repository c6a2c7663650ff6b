"""Whether every variable that a configuration refers to has a value on every matching agent. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache

from controlplane.validate.facts import AgentFacts
from controlplane.validate.findings import Finding, error_at, named
from controlplane.validate.source import Source
from headrace.config import Reference, did_you_mean

PASSED_ON = frozenset(
    {"PATH", "HOME", "HOSTNAME", "LANG", "LC_ALL", "TZ", "TMPDIR", "SSL_CERT_FILE", "SSL_CERT_DIR", "USER"}
)
"""What agents pass on from their own environment, which nobody knows here."""
_AGENT = "HEADRACE_AGENT"
_LABEL = "HEADRACE_LABEL_"


def check_variables(
    source: Source, agents: Sequence[AgentFacts], set_for: Mapping[str, Mapping[str, str]]
) -> Iterator[Finding]:
    """One error for each variable that is missing anywhere, at its first place, naming the agents."""
    needed: dict[str, Reference] = {}
    for reference in source.variables:
        if reference.default is None and reference.name not in PASSED_ON:
            needed.setdefault(reference.name, reference)
    if not needed:
        return
    labels = {key for agent in agents for key in agent.labels}
    for name, reference in needed.items():
        carriers = [key for key in labels if label_variable(key) == name]
        lacking = [
            agent
            for agent in agents
            if name != _AGENT
            and not set_for.get(agent.id, {}).get(name)
            and not any(agent.labels.get(key) for key in carriers)
        ]
        if lacking:
            first = min(lacking, key=lambda agent: agent.id)
            known = {_AGENT, *map(label_variable, first.labels), *set_for.get(first.id, ())}
            near = sorted(other for other in known if other.startswith(_LABEL) == name.startswith(_LABEL))
            advice = f"; set it for a selector that matches, or write ${{{name}:-default}}"
            message = f"variable {name!r} is not set for {named(lacking)}{did_you_mean(name, near) or advice}"
            yield error_at(message, reference.position)


def value_of(name: str, agent: AgentFacts, set_for: Mapping[str, str]) -> str:
    """What a variable is on an agent; empty when it is not known here."""
    if set_for.get(name):
        return set_for[name]
    if name == _AGENT:
        return agent.name
    if name.startswith(_LABEL):
        return next((value for key, value in agent.labels.items() if label_variable(key) == name), "")
    return ""


@lru_cache(maxsize=4096)
def label_variable(key: str) -> str:
    """The variable that carries a label: `team/zone-a` is in `HEADRACE_LABEL_TEAM_ZONE_A`."""
    return _LABEL + re.sub("[^A-Za-z0-9]", "_", key).upper()
