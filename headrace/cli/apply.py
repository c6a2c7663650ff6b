"""`apply`, `delete` and `rollback`: what changes which pipelines there are.

Like every command, they import what only their work needs when they are run, so that `--help` and completion are quick.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from headrace.cli import options
from headrace.cli.output import Format
from headrace.cli.target import talk

if TYPE_CHECKING:
    from headrace.management import ManagementClient

_STAYS = "interrupted; the change stays and agents go on with it: headrace get pipelines"

Names = Annotated[list[str], typer.Argument(help="Pipelines.", metavar="PIPELINE", show_default=False)]


def apply(
    context: typer.Context,
    file: options.Files = None,
    recursive: options.Recursive = False,
    name: options.Name = "",
    selector: options.Target = "",
    prune: Annotated[
        bool, typer.Option("--prune", help="Delete the pipelines with the labels of -l that are not in the files.")
    ] = False,
    prune_selector: Annotated[
        str, typer.Option("-l", help="For --prune: over the pipelines' own labels.", metavar="SELECTOR")
    ] = "",
    if_revision: Annotated[
        int | None, typer.Option("--if-revision", help="Only if the pipeline is at this revision.", metavar="N", min=0)
    ] = None,
    dry_run: options.DryRun = False,
    confirm: options.Confirm = 0,
    force: options.Force = False,
    reason: options.Reason = "",
    wait: options.Wait = False,
    wait_for: options.WaitFor = None,
    timeout: options.Timeout = options.WAIT_TIMEOUT,
    output: options.Output = Format.TABLE,
) -> None:
    """Create and change pipelines as files say, all or nothing."""
    from headrace.cli import sources, waiting
    from headrace.cli.changes import report

    if prune != bool(prune_selector):
        raise typer.BadParameter("--prune and -l SELECTOR go together: -l says which pipelines may be deleted")
    plan = waiting.plan(wait=wait, wait_for=wait_for, timeout=timeout)
    found = sources.load(file, name=name, selector=selector, recursive=recursive)

    async def action(client: ManagementClient) -> None:
        with sources.placing(found):
            response = await client.apply_pipelines(
                [source.manifest for source in found],
                reason=reason,
                dry_run=dry_run,
                force=force,
                prune=prune_selector,
                if_revision=if_revision,
                confirm=confirm,
            )
        changes = sources.placed(response.changes, found)
        report(changes, format=output, dry_run=dry_run)
        if not dry_run:
            await waiting.wait(client, changes, plan)

    talk(context, action, interrupted=_STAYS)


def delete(
    context: typer.Context,
    kind: Annotated[str, typer.Argument(metavar="pipeline", help="What to delete: a pipeline.")],
    names: Names,
    purge: Annotated[bool, typer.Option("--purge", help="The agents erase offsets and buffers too, at once.")] = False,
    orphaned_on: Annotated[
        str, typer.Option("--orphaned-on", help="Only the orphaned workload on this agent.", metavar="AGENT")
    ] = "",
    dry_run: options.DryRun = False,
    confirm: options.Confirm = 0,
    reason: options.Reason = "",
    wait: Annotated[bool, typer.Option("--wait", help="Until no connected agent runs them any more.")] = False,
    timeout: options.Timeout = options.WAIT_TIMEOUT,
    output: options.Output = Format.TABLE,
) -> None:
    """Delete pipelines, all or nothing; their agents stop running them."""
    from headrace.cli import waiting
    from headrace.cli.changes import report

    options.check_kind(kind, "pipeline")
    if wait and orphaned_on:
        raise typer.BadParameter("--wait is for pipelines; it does not go with --orphaned-on")
    plan = waiting.plan(wait=wait, wait_for=None, timeout=timeout)

    async def action(client: ManagementClient) -> None:
        response = await client.delete_pipelines(
            names, reason=reason, dry_run=dry_run, confirm=confirm, purge=purge, orphaned_on=orphaned_on
        )
        report(response.changes, format=output, dry_run=dry_run)
        if not dry_run:
            await waiting.wait(client, response.changes, plan)

    talk(context, action, interrupted=_STAYS)


def rollback(
    context: typer.Context,
    name: options.Pipeline,
    to: Annotated[
        int, typer.Option("--to", help="This revision; else the one before the current.", metavar="REVISION", min=0)
    ] = 0,
    confirm: options.Confirm = 0,
    force: options.Force = False,
    reason: options.Reason = "",
    wait: options.Wait = False,
    wait_for: options.WaitFor = None,
    timeout: options.Timeout = options.WAIT_TIMEOUT,
    output: options.Output = Format.TABLE,
) -> None:
    """Bring an old revision of a pipeline back, as a new revision."""
    from headrace.cli import waiting
    from headrace.cli.changes import report

    plan = waiting.plan(wait=wait, wait_for=wait_for, timeout=timeout)

    async def action(client: ManagementClient) -> None:
        response = await client.rollback_pipeline(name, to_revision=to, reason=reason, confirm=confirm, force=force)
        report([response.change], format=output)
        await waiting.wait(client, [response.change], plan)

    talk(context, action, interrupted=_STAYS)
