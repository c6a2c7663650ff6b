"""The variables that a configuration may use here, by the rules of `headrace.variables`, and its engine's environment.

A child sees only those that its configuration uses, and what every program needs. Pure.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from agent.model import Plane
from headrace.config import Document, did_you_mean, variables
from headrace.errors import InvalidError
from headrace.types import Fault, SecretReference
from headrace.variables import AGENT_VARIABLE, PASSED_ON, check_carrier, label_variable, objection


@dataclass(frozen=True, slots=True, kw_only=True)
class Environment:
    """What a child gets; `used` are the variables among it that the configuration asks for."""

    values: Mapping[str, str] = field(repr=False)
    used: Mapping[str, str] = field(repr=False)
    marks: Mapping[str, str] = field(default_factory=dict)
    """Of the secrets among `values`, by variable: another for another value, and of no use to anybody else."""
    faults: tuple[Fault, ...] = ()

    @property
    def digest(self) -> str:
        """Equal as long as nothing changed that the configuration uses."""
        used, marks = sorted(self.used.items()), sorted(self.marks.items())
        # Without secrets it is what earlier versions made, so that an upgrade starts no engine anew.
        return hashlib.sha256(json.dumps([used, marks] if marks else used).encode()).hexdigest()[:16]


def known_variables(*, agent: str, plane: Plane, own: Mapping[str, str]) -> dict[str, str]:
    """Everything that a configuration may refer to here."""
    return {
        AGENT_VARIABLE: agent,
        **{label_variable(key): value for key, value in plane.labels.items()},
        **plane.values,
        **{name: own[name] for name in PASSED_ON if name in own},
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class Carried:
    """What one content's secrets put into the environment: values and marks by variable, and what is not here yet."""

    values: Mapping[str, str] = field(default_factory=dict, repr=False)
    marks: Mapping[str, str] = field(default_factory=dict)
    awaited: Mapping[str, str] = field(default_factory=dict)
    """Names of secrets, by variable."""
    faults: tuple[Fault, ...] = ()


def carried_by(references: Iterable[SecretReference], held: Mapping[str, tuple[str, str]]) -> Carried:
    """`held` has value and mark of each secret that is here."""
    values: dict[str, str] = {}
    marks: dict[str, str] = {}
    awaited: dict[str, str] = {}
    faults: list[Fault] = []
    for reference in references:
        try:
            check_carrier(reference.env)
        except InvalidError as refusal:
            faults.append(Fault(message=f"secret {reference.name!r}: {refusal.message}"))
            continue
        if reference.name in held:
            values[reference.env], marks[reference.env] = held[reference.name]
        else:
            awaited[reference.env] = reference.name
    return Carried(values=values, marks=marks, awaited=awaited, faults=tuple(faults))


NOTHING_CARRIED = Carried()


def environment_of(document: Document, known: Mapping[str, str], carried: Carried = NOTHING_CARRIED) -> Environment:
    """The environment for one configuration; a variable that nobody set is a fault at its place."""
    used: dict[str, str] = {}
    faults: list[Fault] = []
    for reference in variables(document):
        name, place = reference.name, reference.position
        if name in carried.values or name in carried.awaited:
            continue
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
    return Environment(
        values={**basics, **used, **carried.values},
        used=used,
        marks=carried.marks,
        faults=(*carried.faults, *faults),
    )
