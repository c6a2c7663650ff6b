"""What a tag says of a container. Pure.

The tag is that of a file in /var/log/containers, `POD_NAMESPACE_CONTAINER-ID.log`, after a prefix whose length alone
counts, as in Fluent Bit.
"""

from dataclasses import dataclass

from agent.engine.parser import Parser
from agent.engine.record import Record
from agent.engine.regex import compile_regex

_FILE = compile_regex(
    r"(?<pod_name>[a-z0-9](?:[-a-z0-9]*[a-z0-9])?(?:\.[a-z0-9](?:[-a-z0-9]*[a-z0-9])?)*)"
    r"_(?<namespace_name>[^_]+)_(?<container_name>.+)-(?<docker_id>[a-z0-9]{64})\.log$"
)


@dataclass(frozen=True, slots=True)
class Names:
    """Of one container; what the tag does not say is empty."""

    pod: str
    namespace: str
    container: str = ""
    docker_id: str = ""
    container_hash: str = ""

    def record(self) -> Record:
        """What is known without asking."""
        found = {"pod_name": self.pod, "namespace_name": self.namespace}
        found |= {"container_name": self.container, "docker_id": self.docker_id}
        return {key: value for key, value in found.items() if value}


def read_names(tag: str, prefix: str, parser: Parser | None = None) -> Names | None:
    """None where the tag is of no container."""
    if len(prefix) + 1 >= len(tag):
        return None
    name = tag[len(prefix) :]
    if parser is not None:
        parsed = parser.parse(name)
        groups = {key: value for key, value in parsed[1].items() if isinstance(value, str)} if parsed else {}
    else:
        found = _FILE.search(name)
        groups = found.groupdict("") if found else {}
    pod, namespace = groups.get("pod_name"), groups.get("namespace_name")
    if not pod or not namespace:
        return None
    return Names(
        pod,
        namespace,
        groups.get("container_name", ""),
        groups.get("docker_id", ""),
        groups.get("container_hash", ""),
    )
