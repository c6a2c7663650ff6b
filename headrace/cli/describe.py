"""`describe`: one pipeline or agent in full, with the three truths of every workload: asked for, tried, running."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from headrace.cli import options
from headrace.cli.documents import agent_details, pipeline_details, revision_document
from headrace.cli.events import line_of as event_line
from headrace.cli.exits import printable
from headrace.cli.get import REVISIONS, phases_text, state_text
from headrace.cli.metrics import figure_lines
from headrace.cli.output import Column, Format, labels_text, show_document, show_lines, table, when
from headrace.cli.rollout import describe_fault
from headrace.cli.target import talk
from headrace.errors import HeadraceError
from headrace.types import Attempt, AttemptState, Running, clock_text

if TYPE_CHECKING:
    from headrace.api import Agent, Event, Figures, Pipeline, Revision, Workload
    from headrace.management import ManagementClient

_RECENT = 10

group = typer.Typer(name="describe", help="One thing in full.", no_args_is_help=True)


@group.command("pipeline")
@group.command("pipelines", hidden=True)
def pipeline(
    context: typer.Context,
    name: options.Pipeline,
    revision: Annotated[int, typer.Option("--revision", help="As it was at this revision.", metavar="N", min=0)] = 0,
    output: options.Output = Format.TABLE,
) -> None:
    """A pipeline: what it is, where it runs, what went wrong, and its past."""

    async def fetch(
        client: ManagementClient,
    ) -> tuple[Pipeline, Sequence[Revision], Sequence[Event], Sequence[Figures] | str]:
        found = await client.get_pipeline(name, revision=revision)
        return found, *await asyncio.gather(
            client.list_revisions(name, limit=_RECENT),
            client.list_events(pipeline=name, limit=_RECENT),
            _figures(client, pipeline=name, by="agent"),
        )

    found, revisions, events, figures = talk(context, fetch)
    if output is Format.TABLE:
        show_lines((*_pipeline_lines(found, revisions, events), *_metrics_lines(figures, "agent")))
    else:
        past = {
            "revisions": [revision_document(item) for item in revisions],
            "events": list(events),
            "metrics": _metrics_document(figures),
        }
        show_document({**pipeline_details(found), **past}, output)


@group.command("agent")
@group.command("agents", hidden=True)
def agent(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="A name or id.", metavar="AGENT", show_default=False)],
    output: options.Output = Format.TABLE,
) -> None:
    """An agent: who it is, what it has, what it runs."""

    async def fetch(client: ManagementClient) -> tuple[Agent, Sequence[Event], Sequence[Figures] | str]:
        found = await client.get_agent(name)
        if found.waits:  # it has no identity, so nothing is known of it
            return found, (), ()
        return found, *await asyncio.gather(
            client.list_events(agent=found.id, limit=_RECENT), _figures(client, agent=found.id, by="pipeline")
        )

    found, events, figures = talk(context, fetch)
    if output is Format.TABLE and found.waits:
        show_lines(_applicant_lines(found))
    elif output is Format.TABLE:
        show_lines((*_agent_lines(found, events), *_metrics_lines(figures, "pipeline")))
    else:
        past = {"events": list(events), "metrics": _metrics_document(figures)}
        show_document({**agent_details(found), **past}, output)


async def _figures(
    client: ManagementClient, *, by: str, pipeline: str = "", agent: str = ""
) -> Sequence[Figures] | str:
    """What metrics say of it, or in words why there are none: a description is good without them."""
    from headrace.api import LatestMetricsRequest

    try:
        return await client.latest_metrics(LatestMetricsRequest(pipeline=pipeline, agent=agent, by=(by,)))
    except HeadraceError as error:
        return error.message


def _metrics_lines(figures: Sequence[Figures] | str, by: str) -> Iterator[str]:
    if isinstance(figures, str):
        yield from _section("Metrics", [f"  {printable(figures)}"])
    else:
        found = _indented(figure_lines(figures, (by,))) if figures else ("  none of the last minute",)
        yield from _section("Metrics", found)


def _metrics_document(figures: Sequence[Figures] | str) -> object:
    return {"unavailable": figures} if isinstance(figures, str) else list(figures)


def _pipeline_lines(pipeline: Pipeline, revisions: Sequence[Revision], events: Sequence[Event]) -> Iterator[str]:
    manifest = pipeline.manifest
    yield from _facts(
        ("Pipeline", manifest.name),
        ("Description", manifest.description),
        ("Labels", labels_text(manifest.labels)),
        ("Selector", manifest.selector),
        ("Engine", manifest.engine),
        ("Revision", f"{pipeline.revision} (generation {pipeline.generation}, content {pipeline.sha256[:12]})"),
        ("Created", when(pipeline.created_at)),
        ("Updated", when(pipeline.updated_at)),
        ("Agents", phases_text(dict(pipeline.phases))),
        ("Files", ", ".join(f"{file.name} ({len(file.content)} bytes)" for file in manifest.files)),
    )
    yield from _section("Config", _indented(printable(manifest.config).rstrip("\n").split("\n")))
    yield from _workloads(pipeline.workloads, Column("AGENT", lambda w: w.agent_name or w.agent_id), with_state=True)
    yield from _section("Revisions", _indented(table(revisions, REVISIONS.columns)) if revisions else ())
    yield from _section("Events", _indented(event_line(event) for event in reversed(events)))


def _agent_lines(agent: Agent, events: Sequence[Event]) -> Iterator[str]:
    facts = agent.facts
    yield from _facts(
        ("Agent", facts.name),
        ("Id", agent.id),
        ("State", agent.state),
        ("Labels", labels_text(agent.labels)),
        ("Claimed", labels_text(facts.labels)),
        ("Version", " ".join(filter(None, (facts.version, facts.os, facts.arch)))),
        ("Engines", ", ".join(f"{e.engine} {e.version}".strip() for e in facts.engines)),
        ("Enrolled", when(agent.enrolled_at) + (f" with token {agent.token_id}" if agent.token_id else "")),
        ("Connected", when(agent.connected_at) + (f" to {agent.replica}" if agent.replica else "")),
        ("Shown by", agent.shown or "-"),
        ("Certificate", agent.certificate or "none"),
        ("Last seen", when(agent.last_seen)),
        ("Clock", clock_text(facts.clock_ahead_ms) if facts.clock_ahead_ms else ""),
    )
    yield from _workloads(agent.workloads, Column("PIPELINE", lambda w: w.pipeline), with_state=False)
    yield from _section("Events", _indented(event_line(event) for event in reversed(events)))


def _applicant_lines(agent: Agent) -> Iterator[str]:
    """One that waits for an operator: all that is known is what it says of itself."""
    facts = agent.facts
    claimed = f", with the credential of {agent.claimed} and not its key" if agent.claimed else ""
    yield from _facts(
        ("Agent", facts.name),
        ("Id", agent.id),
        ("State", state_text(agent)),
        ("Claimed", labels_text(facts.labels)),
        ("Version", " ".join(filter(None, (facts.version, facts.os, facts.arch)))),
        ("Asked", f"from {agent.source} with token {agent.token_id}{claimed}"),
        ("To decide", f"headrace agent approve {agent.id}, or deny"),
    )


def _workloads(workloads: Sequence[Workload], first: Column[Workload], *, with_state: bool) -> Iterator[str]:
    ordered = sorted(workloads, key=first.cell)
    columns: list[Column[Workload]] = [
        first,
        *([Column("STATE", lambda w: w.agent_state)] if with_state else []),
        Column("PHASE", lambda w: w.phase),
        Column("DESIRED", lambda w: str(w.generation or "-")),
        Column("ATTEMPT", lambda w: _attempt_text(w.observed.attempt if w.observed else None)),
        Column("RUNNING", lambda w: _running_text(w.observed.running if w.observed else None)),
        Column("GOOD", lambda w: str(w.observed.good or "-") if w.observed else "-"),
        Column("SINCE", lambda w: when(w.changed_at)),
    ]
    yield from _section("Workloads", _indented(table(ordered, columns)) if ordered else ("  none",))
    findings = [line for workload in ordered for line in _findings(first.cell(workload), workload)]
    yield from _section("Findings", findings)


def _findings(name: str, workload: Workload) -> Iterator[str]:
    """What went wrong with the newest attempt, what runs instead, and what the agent wants to be known."""
    observed = workload.observed
    if observed is None:
        return
    attempt, running = observed.attempt, observed.running
    if attempt is not None and attempt.state is AttemptState.FAILED:
        again = f"tried again at {when(attempt.retry_at)}" if attempt.retry_at else "not tried again by itself"
        step = f" at step {attempt.step}" if attempt.step else ""
        yield f"  {printable(name)}: generation {attempt.generation} failed{step}, {again}"
        for fault in attempt.faults:
            what = f" (property {fault.property})" if fault.property and fault.property not in fault.message else ""
            place = f"{fault.file}:{fault.line}:{fault.column}: " if fault.file and fault.line else ""
            text = f"{place}{describe_fault(fault.plugin, fault.message)}{what}"
            yield f"    {fault.severity}: {printable(text)}"
        runs = f"generation {running.generation} runs on" if running else "nothing runs"
        yield f"    {runs}"
    if running is not None and running.message:
        yield f"  {printable(name)}: {running.health}: {printable(running.message)}"
    for note in observed.notes:
        yield f"  {printable(name)}: note: {printable(note)}"


def _attempt_text(attempt: Attempt | None) -> str:
    if attempt is None:
        return "-"
    at = f" at {attempt.step}" if attempt.step and attempt.state is AttemptState.FAILED else ""
    return f"{attempt.generation} {attempt.state}{at}"


def _running_text(running: Running | None) -> str:
    if running is None:
        return "-"
    engine = f" on {running.engine}" if running.engine else ""
    restarts = f", {running.restarts} restarts" if running.restarts else ""
    return f"{running.generation} {running.health}{engine}{restarts}"


def _facts(*pairs: tuple[str, str]) -> Iterator[str]:
    for head, value in pairs:
        if value and value != "-":
            yield f"{head + ':':13}{printable(value)}"


def _section(head: str, lines: Iterable[str]) -> Iterator[str]:
    """A head and its lines; nothing when there are none."""
    found = list(lines)
    if found:
        yield ""
        yield f"{head}:"
        yield from found


def _indented(lines: Iterable[str]) -> Iterator[str]:
    return (f"  {line}".rstrip() for line in lines)
