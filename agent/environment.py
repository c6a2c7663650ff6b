"""The variables that a configuration may use here, by the rules of `headrace.variables`, and its engine's environment.

A child sees only those that its configuration uses, and what every program needs. Pure.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass

from agent.model import Plane
from headrace.config import Document, did_you_mean, variables
from headrace.types import Fault
from headrace.variables import AGENT_VARIABLE, PASSED_ON, label_variable, objection


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
        AGENT_VARIABLE: agent,
        **{label_variable(key): value for key, value in plane.labels.items()},
        **plane.values,
        **{name: own[name] for name in PASSED_ON if name in own},
    }


def environment_of(document: Document, known: Mapping[str, str]) -> Environment:
    """The environment for one configuration; a variable that nobody set is a fault at its place."""
    used: dict[str, str] = {}
    faults: list[Fault] = []
    for reference in variables(document):
        name, place = reference.name, reference.position
        if wrong := objection(name):
            message = wrong
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
