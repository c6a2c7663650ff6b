"""The variables that a configuration may use, and the environment that its engine gets. Pure.

`${NAME}` means, in this order: what the agent's own environment passes on (`PASSED_ON`), what operators set for this
agent, `HEADRACE_LABEL_<KEY>` and `HEADRACE_AGENT`. A child sees only those that its configuration uses, and what every
program needs. Names that would change the program itself (`LD_PRELOAD` and the like) are refused: whoever may set a
variable must not get around the agent's policy by it.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass

from agent.model import Plane
from headrace.config import Document, did_you_mean, variables
from headrace.types import Fault

PASSED_ON = (
    *(
        "PATH",
        "HOME",
        "USER",
        "HOSTNAME",
        "NODE_NAME",
        "LANG",
        "LC_ALL",
        "TZ",
        "TMPDIR",
        "SSL_CERT_FILE",
        "SSL_CERT_DIR",
    ),
    *("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "KUBERNETES_SERVICE_HOST", "KUBERNETES_SERVICE_PORT"),
)

_RESERVED = re.compile("(?:LD_|DYLD_|PYTHON|LUA_|GLIBC_|GCONV_|MALLOC_|OPENSSL_).*|ENV|BASH_ENV|IFS|SHELLOPTS")


@dataclass(frozen=True, slots=True, kw_only=True)
class Environment:
    """What a child gets; `used` are the variables among it that the configuration asks for."""

    values: Mapping[str, str]
    used: Mapping[str, str]
    faults: tuple[Fault, ...] = ()

    @property
    def digest(self) -> str:
        """Equal as long as nothing changed that the configuration uses."""
        return hashlib.sha256(json.dumps(sorted(self.used.items())).encode()).hexdigest()[:16]


def known_variables(*, agent: str, plane: Plane, own: Mapping[str, str]) -> dict[str, str]:
    """Everything that a configuration may refer to here."""
    return {
        "HEADRACE_AGENT": agent,
        **{label_variable(key): value for key, value in plane.labels.items()},
        **plane.values,
        **{name: own[name] for name in PASSED_ON if name in own},
    }


def label_variable(key: str) -> str:
    """The variable that carries a label: `team/zone-a` is in `HEADRACE_LABEL_TEAM_ZONE_A`."""
    return "HEADRACE_LABEL_" + re.sub("[^A-Za-z0-9]", "_", key).upper()


def environment_of(document: Document, known: Mapping[str, str]) -> Environment:
    """The environment for one configuration; a variable that nobody set is a fault at its place."""
    used: dict[str, str] = {}
    faults: list[Fault] = []
    for reference in variables(document):
        name, place = reference.name, reference.position
        if _RESERVED.fullmatch(name):
            message = f"variable {name!r} would change the engine itself; choose another name"
        elif known.get(name):
            used[name] = known[name]
            continue
        elif reference.default is not None:
            continue
        else:
            message = (
                f"variable {name!r} is not set for this agent{did_you_mean(name, known)}; "
                f"set it for a selector that matches the agent, or write ${{{name}:-default}}"
            )
        faults.append(Fault(message=message, file=place.file, line=place.line, column=place.column))
    basics = {name: known[name] for name in PASSED_ON if name in known}
    return Environment(values={**basics, **used}, used=used, faults=tuple(faults))
