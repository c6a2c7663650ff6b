"""What is done to workloads where they run: `restart`, `retry`, `adopt`, and `logs` of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from headrace.cli import options
from headrace.cli.exits import Exit, printable
from headrace.cli.output import Column, Format, plain, show_list
from headrace.cli.target import talk

if TYPE_CHECKING:
    from headrace.api import CommandResult
    from headrace.management import ManagementClient

_RESULTS: Sequence[Column[CommandResult]] = (
    Column("AGENT", lambda r: r.agent_name or r.agent_id),
    Column("RESULT", lambda r: "done" if r.ok else "failed"),
    Column("MESSAGE", lambda r: r.message),
)

OneAgent = Annotated[str, typer.Option("--agent", help="Name or id.", metavar="AGENT", show_default=False)]


def restart(
    context: typer.Context,
    name: options.Pipeline,
    selector: options.AgentSelector = "",
    output: options.Output = Format.TABLE,
) -> None:
    """Restart the engines of a pipeline."""
    _show(talk(context, lambda client: client.restart_pipeline(name, selector=selector)), output)


def retry(
    context: typer.Context,
    name: options.Pipeline,
    selector: options.AgentSelector = "",
    output: options.Output = Format.TABLE,
) -> None:
    """Try a failed pipeline again where it failed."""
    _show(talk(context, lambda client: client.retry_pipeline(name, selector=selector)), output)


def adopt(
    context: typer.Context,
    name: options.Pipeline,
    agent: OneAgent,
    selector: Annotated[
        str, typer.Option("--selector", help="Which agents it is for from now on.", metavar="SELECTOR")
    ],
    reason: options.Reason = "",
    output: options.Output = Format.TABLE,
) -> None:
    """Make an orphaned workload's pipeline one of this control plane."""
    from headrace.cli.changes import report

    async def action(client: ManagementClient) -> None:
        report([await client.adopt_workload(name, agent, selector=selector, reason=reason)], format=output)

    talk(context, action)


def logs(
    context: typer.Context,
    name: options.Pipeline,
    agent: OneAgent,
    lines: Annotated[int, typer.Option("--lines", "-n", help="The last N lines.", metavar="N", min=1)] = 100,
) -> None:
    """Print the end of the log of a pipeline's engine on an agent."""
    text = talk(context, lambda client: client.get_logs(name, agent, lines=lines))
    if text:
        print(printable(text.rstrip("\n")))


def _show(results: Sequence[CommandResult], format: Format) -> None:
    show_list(results, columns=_RESULTS, document=plain, format=format, none="no agent that is connected runs it")
    failed = sum(not result.ok for result in results)
    if failed:
        raise typer.Exit(Exit.REFUSED if failed == len(results) else Exit.SOME_FAILED)
