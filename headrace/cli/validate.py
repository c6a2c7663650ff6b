"""`validate`: the checks of `apply` without applying; `--offline` does those that need no control plane."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Annotated

import typer

from headrace.cli import options
from headrace.cli.exits import say
from headrace.cli.output import show_lines
from headrace.cli.target import talk
from headrace.types import Fault

if TYPE_CHECKING:
    from headrace import config
    from headrace.cli.manifest import Source
    from headrace.management import ManagementClient


def validate(
    context: typer.Context,
    file: options.Files = None,
    recursive: options.Recursive = False,
    name: options.Name = "",
    selector: options.Target = "",
    offline: Annotated[
        bool, typer.Option("--offline", help="Syntax only: no control plane, so no plugins and properties of agents.")
    ] = False,
    force: options.Force = False,
) -> None:
    """Check pipeline files and change nothing: syntax, plugins, properties, and whom they would touch."""
    from headrace.cli import sources
    from headrace.cli.changes import reach_of
    from headrace.cli.manifest import refusal

    found = sources.load(file, name=name, selector=selector, recursive=recursive)
    if offline:
        faults = [fault for source in found for fault in syntax_faults(source)]
        if faults:
            raise refusal(faults)
        show_lines(f"pipeline/{source.manifest.name} is well-formed (syntax only)" for source in found)
        return

    async def action(client: ManagementClient) -> None:
        with sources.placing(found):
            response = await client.apply_pipelines([s.manifest for s in found], dry_run=True, force=force)
        for change in sources.placed(response.changes, found):
            show_lines([f"pipeline/{change.pipeline} is valid: {reach_of(change)}"])
            for fault in change.findings:
                say(f"{fault.severity}: pipeline {change.pipeline!r}: {fault}")

    talk(context, action)


def syntax_faults(source: Source) -> list[Fault]:
    """Every fault in the syntax of a configuration, placed in its file; the rest of a manifest was checked before."""
    from headrace import config

    texts = {file.name: file.content.decode(errors="replace") for file in source.manifest.files}

    def read(pattern: str) -> dict[str, str]:
        return {name: text for name, text in texts.items() if fnmatchcase(name, pattern)}

    try:
        config.parse(source.manifest.config, file="", read=read)
    except config.ConfigError as error:
        return [_fault(source, fault) for fault in error.faults]
    return []


def _fault(source: Source, fault: config.Fault) -> Fault:
    file, line, column = fault.position.file, fault.position.line, fault.position.column
    if not file:
        file, line, column = source.place(line, column)
    return Fault(message=fault.message, file=file, line=line, column=column)
