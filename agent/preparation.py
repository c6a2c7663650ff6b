"""What is known about a content before an engine sees it: document, environment, basis, and every fault. Pure.

Faults are kept apart by the step that reports them: what cannot be read at all fails at `render`; what may not or
cannot run here fails at `validate`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import PurePosixPath

from agent.environment import Environment, carried_by, environment_of
from agent.file_names import name_faults
from agent.policy import Policy
from headrace.config import ConfigError, Document, Read, parse, parse_time, substitute
from headrace.content import Content
from headrace.types import Engine, EngineInfo, Fault

NO_ENVIRONMENT = Environment(values={}, used={})
NAME = "pipeline"
"""What the configuration is called in positions: it has no file of its own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """One content on this host: `document` as written, `expanded` with its variables' values; None when unreadable."""

    content: Content
    engine: EngineInfo | None
    basis: str
    document: Document | None = None
    expanded: Document | None = None
    environment: Environment = NO_ENVIRONMENT
    render_faults: tuple[Fault, ...] = ()
    here_faults: tuple[Fault, ...] = ()
    policy_faults: tuple[Fault, ...] = ()
    awaited: tuple[Fault, ...] = ()
    """Secrets that have not come yet: no fault of the content."""

    @property
    def faults(self) -> tuple[Fault, ...]:
        """Why a content that can be read must not run here."""
        return (*self.here_faults, *self.policy_faults)

    @property
    def grace(self) -> float:
        """Seconds that the pipeline asks for to flush at a stop."""
        service = self.expanded.service if self.expanded else None
        try:
            return float(parse_time(service.get("grace", "5") if service else "5"))
        except ValueError:
            return 5.0


def prepare(
    content: Content,
    *,
    known: Mapping[str, str],
    engine: EngineInfo | None,
    policy: Policy,
    folder: str,
    version: str,
    secrets: Mapping[str, tuple[str, str]] | None = None,
) -> Prepared:
    """Everything but what only the engine itself can tell; `engine` is what would run it, None when it is not here.

    `secrets` has value and mark of each one that is here.
    """
    document, faults = _parse(content)
    if document is None:
        basis = _basis(engine, policy, version, NO_ENVIRONMENT)
        return Prepared(content=content, engine=engine, basis=basis, render_faults=faults)
    carried = carried_by(content.secrets, secrets or {})
    environment = environment_of(document, known, carried)
    expanded = substitute(document, {**known, **carried.values}, missing="empty")
    return Prepared(
        content=content,
        engine=engine,
        basis=_basis(engine, policy, version, environment),
        document=document,
        expanded=expanded,
        environment=environment,
        render_faults=faults,
        here_faults=(*_engine_faults(content.engine, engine), *environment.faults),
        policy_faults=policy.check(expanded, folder=folder),
        awaited=tuple(
            Fault(message=f"secret {name!r} has not come from the control plane yet; is it set there, and in order?")
            for name in sorted(set(carried.awaited.values()))
        ),
    )


def _parse(content: Content) -> tuple[Document | None, tuple[Fault, ...]]:
    faults = name_faults(content.files)
    try:
        return parse(content.config, file=NAME, read=_reader(content)), faults
    except ConfigError as error:
        places = [(fault.position, fault.message) for fault in error.faults]
        return None, (
            *faults,
            *(Fault(message=text, file=at.file, line=at.line, column=at.column) for at, text in places),
        )


def _reader(content: Content) -> Read:
    """Included files are the ones that came with the pipeline."""
    texts = {file.name: file.content for file in content.files}

    def read(pattern: str) -> dict[str, str]:
        wanted = str(PurePosixPath(pattern))
        return {name: data.decode(errors="replace") for name, data in texts.items() if fnmatch(name, wanted)}

    return read


def _engine_faults(wanted: Engine, engine: EngineInfo | None) -> tuple[Fault, ...]:
    if engine is not None:
        return ()
    return (Fault(message=f"engine {wanted.value!r} is not on this host; install it, or use engine auto"),)


def _basis(engine: EngineInfo | None, policy: Policy, version: str, environment: Environment) -> str:
    parts = (engine, policy, version, environment.digest)
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:16]
