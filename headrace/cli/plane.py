"""The control plane itself: `status`, `backup`, `restore`, `version`."""

from __future__ import annotations

import os
import sys
import tempfile
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as installed_version
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from headrace.cli import options, programs
from headrace.cli.exits import say
from headrace.cli.get import phases_text
from headrace.cli.output import Format, plain, show_document, show_lines, when
from headrace.cli.target import talk

if TYPE_CHECKING:
    from headrace.management import ManagementClient


def status(context: typer.Context, output: options.Output = Format.TABLE) -> None:
    """Say how the control plane is doing; exit 0 when it answers."""
    found = talk(context, lambda client: client.get_status())
    if output is not Format.TABLE:
        show_document(plain(found), output)
        return
    facts = {
        "Instance": f"{found.instance_id} (epoch {found.epoch})",
        "Version": found.version,
        "Replica": found.replica,
        "Started": when(found.started_at),
        "State": found.state,
        "Metrics": found.metrics,
        "Fleet": f"revision {found.fleet_revision}, generation {found.generation}",
        "Pipelines": str(found.pipelines),
        "Agents": phases_text(dict(found.agents)),
        "Sessions": str(found.sessions),
    }
    show_lines(f"{head + ':':11}{value or '-'}" for head, value in facts.items())


def backup(
    context: typer.Context,
    out: Annotated[Path, typer.Option("--out", "-o", help="Where to.", metavar="FILE", show_default=False)],
) -> None:
    """Write the whole state to a file, while everything runs; `restore` reads it."""

    async def action(client: ManagementClient) -> int:
        size = 0
        # Beside its place and then renamed: a backup that was cut short must not look like one.
        with tempfile.NamedTemporaryFile(dir=out.absolute().parent, prefix=f".{out.name}.", delete=False) as file:
            try:
                async for piece in client.backup():
                    file.write(piece)
                    size += len(piece)
                file.flush()
                os.fsync(file.fileno())
                Path(file.name).replace(out)
            except BaseException:
                Path(file.name).unlink(missing_ok=True)
                raise
        return size

    try:
        size = talk(context, action)
    except OSError as error:
        raise typer.BadParameter(f"cannot write {str(out)!r}: {error.strerror}", param_hint="'--out'") from error
    show_lines([f"{out}: {size} bytes"])


def restore(
    file: Annotated[Path, typer.Argument(help="Made by backup.", metavar="FILE", show_default=False)],
    data_dir: options.DataDir = None,
    state: options.State = "",
) -> None:
    """Load a backup into the state of a control plane that is stopped; nothing that runs is stopped by it."""
    if not file.is_file():
        raise typer.BadParameter(f"there is no file {str(file)!r}", param_hint="'FILE'")
    where = ["--data-dir", str(programs.data_dir(data_dir)), *(["--state", state] if state else [])]
    programs.become(programs.CONTROL_PLANE, ["restore", str(file), *where])


def version() -> None:
    """Say which version this is."""
    show_lines([f"headrace {version_text()}, Python {sys.version.split()[0]}"])


def version_text() -> str:
    """Of the distribution that is installed."""
    try:
        return installed_version("headrace")
    except PackageNotFoundError:
        say("headrace is not installed, it runs from a checkout")
        return "unknown"
