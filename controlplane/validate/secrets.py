"""Whether the secrets that a manifest refers to are there, and by what names their values reach the engine. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence

from controlplane.validate.facts import AgentFacts
from controlplane.validate.findings import error, named, warning
from headrace.api import Manifest
from headrace.errors import InvalidError
from headrace.names import validate_name
from headrace.types import Fault
from headrace.variables import check_carrier

MOST = 100
CAPABILITY = "secrets"
"""What an agent says of itself that takes them."""


def check_secrets(manifest: Manifest, problems: Mapping[str, str]) -> Iterator[Fault]:
    """`problems` says of each secret that is named why it cannot be used, empty when it can."""
    if len(manifest.secrets) > MOST:
        yield error(f"it refers to {len(manifest.secrets)} secrets, the limit is {MOST}")
        return
    for name in dict.fromkeys(reference.name for reference in manifest.secrets):
        wrong = _refusal(lambda name=name: validate_name(name, "secret name"))  # type: ignore[misc]  # mypy has no lambda defaults
        if wrong := wrong or problems.get(name, ""):
            yield error(wrong)
    for env, count in Counter(reference.env for reference in manifest.secrets).items():
        if wrong := _refusal(lambda env=env: check_carrier(env)):  # type: ignore[misc]  # mypy has no lambda defaults
            yield error(wrong)
        if count > 1:
            yield error(f"variable {env[:128]!r} carries {count} secrets; give each a variable of its own")


def check_takers(manifest: Manifest, agents: Sequence[AgentFacts]) -> Iterator[Fault]:
    """An agent that cannot take secrets would never run it: an error where none of the agents can, else a warning."""
    cannot = [agent for agent in agents if CAPABILITY not in agent.capabilities]
    if not (manifest.secrets and cannot):
        return
    if len(cannot) == len(agents):
        yield error(f"it needs secrets, and none of its agents can take them ({named(cannot)}); upgrade them first")
    else:
        yield warning(
            f"it needs secrets, and {len(cannot)} of {len(agents)} agents cannot take them ({named(cannot)}): "
            "it will not run there; upgrade them, or narrow the selector"
        )


def _refusal(check: Callable[[], object]) -> str:
    try:
        check()
    except InvalidError as refusal:
        return refusal.message
    return ""
