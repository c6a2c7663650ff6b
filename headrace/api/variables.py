"""Variables: values by scope that a pipeline refers to."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Variable:
    """A value of `${NAME}` for the agents that a selector matches."""

    name: str
    value: str = ""
    selector: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class SetVariablesRequest:
    """Asks for `SetVariables`."""

    set: tuple[Variable, ...] = ()
    unset: tuple[Variable, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class SetVariablesResponse:
    """Answers `SetVariables`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ListVariablesRequest:
    """Asks for `ListVariables`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ListVariablesResponse:
    """Answers `ListVariables`."""

    variables: tuple[Variable, ...] = ()
