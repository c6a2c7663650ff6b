"""`events`: who did what, and what happened where; oldest first, so that a terminal ends on the newest."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from headrace.cli import options
from headrace.cli.output import Column, Format, plain, show_lines, show_list, when, whom
from headrace.cli.target import talk
from headrace.types import Severity

if TYPE_CHECKING:
    from headrace.api import Event
    from headrace.management import ManagementClient

_PAGE = 1000

COLUMNS: Sequence[Column[Event]] = (
    Column("AT", lambda e: when(e.at)),
    Column("KIND", lambda e: e.kind),
    Column("BY", lambda e: whom(e.actor, e.actor_known_by)),
    Column("FROM", lambda e: e.source),
    Column("PIPELINE", lambda e: e.pipeline),
    Column("AGENT", lambda e: e.agent_id),
    Column("MESSAGE", lambda e: e.message),
)


def events(
    context: typer.Context,
    pipeline: Annotated[str, typer.Option("--pipeline", help="Only of this pipeline.", metavar="NAME")] = "",
    agent: Annotated[str, typer.Option("--agent", help="Only of this agent.", metavar="AGENT")] = "",
    limit: Annotated[int, typer.Option("--limit", help="The newest N.", metavar="N", min=1)] = 100,
    watch: options.Watch = False,
    export: Annotated[bool, typer.Option("--export", help="All that are kept, a JSON object a line.")] = False,
    output: options.Output = Format.TABLE,
) -> None:
    """Print events, oldest first."""
    if export and watch:
        raise typer.BadParameter("--export and --watch exclude each other")

    async def action(client: ManagementClient) -> None:
        if export:
            for event in await _all(client, pipeline=pipeline, agent=agent):
                _show(event, Format.JSON)
            return
        past = tuple(reversed(await client.list_events(pipeline=pipeline, agent=agent, limit=limit)))
        if not watch:
            show_list(past, columns=COLUMNS, document=plain, format=output, none="no events")
            return
        for event in past:
            _show(event, output)
        after = max((event.revision for event in past), default=0)
        async for event in client.watch_events(after=after, pipeline=pipeline, agent=agent):
            _show(event, output)

    talk(context, action)


async def _all(client: ManagementClient, *, pipeline: str, agent: str) -> Sequence[Event]:
    """Every event that is kept, oldest first, a page at a time from the newest back."""
    found: list[Event] = []
    while page := await client.list_events(
        pipeline=pipeline, agent=agent, limit=_PAGE, before=found[-1].revision if found else 0
    ):
        found += page
    return found[::-1]


def line_of(event: Event) -> str:
    """One event in one line, for people."""
    where = " ".join(filter(None, (event.pipeline, event.agent_id and f"on {event.agent_id}")))
    by = f" by {whom(event.actor, event.actor_known_by)}" if event.actor else ""
    by += f" from {event.source}" if event.source else ""
    severity = "error: " if event.severity is Severity.ERROR else ""
    return f"{when(event.at)}  {event.kind:22} {where}{by}: {severity}{event.message}"


def _show(event: Event, format: Format) -> None:
    if format is Format.TABLE:
        show_lines([line_of(event)])
    else:
        show_lines([json.dumps(plain(event), ensure_ascii=False)])
