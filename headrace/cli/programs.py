"""The two programs that the command starts and never imports: how each is called, and where its data is kept."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import NoReturn

from headrace.errors import UnavailableError


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """A module that is run as a process; `probe` is a package that only its extra brings."""

    name: str
    module: str
    extra: str
    probe: str


CONTROL_PLANE = Program(name="control plane", module="controlplane", extra="control", probe="sqlalchemy")
AGENT = Program(name="agent", module="agent", extra="agent", probe="orjson")


def command(program: Program, arguments: Sequence[str]) -> list[str]:
    """The command line; `-P` so that nothing in the current folder is imported. Raises UnavailableError."""
    _require(program)
    return [sys.executable, "-P", "-m", program.module, *arguments]


def leashed(program: Program, arguments: Sequence[str]) -> list[str]:
    """The command line of a child that ends with this process. Raises UnavailableError."""
    _require(program)
    return [sys.executable, "-P", "-m", "headrace.cli.leash", str(os.getpid()), program.module, *arguments]


def become(program: Program, arguments: Sequence[str]) -> NoReturn:
    """Replace this process by the program."""
    line = command(program, arguments)
    sys.stdout.flush()
    sys.stderr.flush()
    os.execv(line[0], line)


def data_dir(given: Path | None, environment: Mapping[str, str] | None = None) -> Path:
    """The folder that is given, else the user's own: `$XDG_DATA_HOME or ~/.local/share`/headrace. Absolute."""
    if given is not None:
        return given.expanduser().absolute()
    environment = os.environ if environment is None else environment
    home = environment.get("XDG_DATA_HOME") or str(Path("~/.local/share").expanduser())
    return Path(home, "headrace").absolute()


def _require(program: Program) -> None:
    if find_spec(program.probe) is None:
        raise UnavailableError(
            f"the {program.name} cannot be started: {program.probe} is not installed; "
            f"install the extra: pip install 'headrace[{program.extra}]'"
        )
