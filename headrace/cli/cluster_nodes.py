"""Whether a cluster's agents are there, node by node, from what the cluster and the control plane say. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from headrace.api import Agent
from headrace.types import AgentState


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """`pod` and `agent` are in words for people; an agent is called as its node is."""

    name: str
    pod: str
    agent: str
    connected: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """`wanted` is None until the cluster has looked at what was applied."""

    nodes: tuple[Node, ...]
    wanted: int | None

    @property
    def is_complete(self) -> bool:
        """Every node that is to have an agent has one that is connected."""
        return self.wanted is not None and sum(node.connected for node in self.nodes) >= self.wanted


def standing(daemon_set: Mapping[str, Any], pods: Sequence[Mapping[str, Any]], agents: Sequence[Agent]) -> Standing:
    """Of one DaemonSet, its pods, and the agents of that cluster; nodes by name."""
    by_name = {agent.facts.name: agent for agent in agents}
    nodes: dict[str, Node] = {}
    for pod in pods:
        name = pod.get("spec", {}).get("nodeName")
        if not name or pod["metadata"].get("deletionTimestamp"):
            continue
        agent = by_name.get(name)
        connected = agent is not None and agent.state is AgentState.CONNECTED
        state = agent.state.value if agent else "not enrolled"
        nodes[name] = Node(name=name, pod=_pod_words(pod), agent=state, connected=connected)
    status = daemon_set.get("status") or {}
    is_seen = status.get("observedGeneration") == daemon_set["metadata"].get("generation")
    wanted = int(status.get("desiredNumberScheduled", 0)) if is_seen else None
    return Standing(nodes=tuple(nodes[name] for name in sorted(nodes)), wanted=wanted)


def _pod_words(pod: Mapping[str, Any]) -> str:
    """What keeps it from running, where something does."""
    status = pod.get("status") or {}
    for container in status.get("containerStatuses") or ():
        if waiting := container.get("state", {}).get("waiting"):
            return str(waiting.get("reason", "waiting"))
    for condition in status.get("conditions") or ():
        if condition.get("type") == "PodScheduled" and condition.get("status") == "False":
            return str(condition.get("reason", "Pending"))
    return str(status.get("phase", "Unknown"))
