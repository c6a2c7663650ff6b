"""Which engines this host has, and which one a pipeline gets."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

import structlog

from agent.errors import EnvironmentFault
from agent.runtimes.base import Deadlines, Runtime
from agent.runtimes.fluentbit import EMBEDDED_COMMAND, FluentBit
from headrace.types import Engine, Fault

log = structlog.get_logger(__name__)

PREFERENCE = (Engine.FLUENT_BIT, Engine.EMBEDDED)
"""What `auto` takes, the first that is there."""


async def find_runtimes(
    wanted: Engine,
    *,
    fluent_bit: Path | None,
    environment: Mapping[str, str],
    memory: int = 0,
    deadlines: Deadlines | None = None,
) -> dict[Engine, Runtime]:
    """The engines that may be used here: all that are there for `auto`, else the wanted one.

    `fluent_bit` is the program to use instead of the one on the PATH; `memory` bounds each process, in bytes. Raises
    EnvironmentFault when what was asked for by name is not there.
    """
    found: dict[Engine, Runtime] = {}
    program = str(fluent_bit) if fluent_bit else environment.get("FLUENT_BIT_BIN") or _on_path(environment)
    if wanted in (Engine.AUTO, Engine.FLUENT_BIT) and program:
        try:
            found[Engine.FLUENT_BIT] = await FluentBit.find(
                Engine.FLUENT_BIT, [program], environment=environment, memory=memory, deadlines=deadlines
            )
        except EnvironmentFault as error:
            if wanted is Engine.FLUENT_BIT or fluent_bit:
                raise
            log.warning("Fluent Bit is not used", reason=str(error))
    elif wanted is Engine.FLUENT_BIT:
        raise EnvironmentFault(
            Fault(message="Fluent Bit was not found; give its path by --fluent-bit, or use --engine auto")
        )
    if wanted in (Engine.AUTO, Engine.EMBEDDED):
        found[Engine.EMBEDDED] = await FluentBit.find(
            Engine.EMBEDDED, EMBEDDED_COMMAND, environment=environment, memory=memory, deadlines=deadlines
        )
    return found


def resolve(engine: Engine, runtimes: Mapping[Engine, Runtime]) -> Runtime | None:
    """What runs a pipeline that asks for this engine; None when it is not here."""
    if engine is not Engine.AUTO:
        return runtimes.get(engine)
    return next((runtimes[each] for each in PREFERENCE if each in runtimes), None)


def _on_path(environment: Mapping[str, str]) -> str | None:
    return shutil.which("fluent-bit", path=environment.get("PATH"))
