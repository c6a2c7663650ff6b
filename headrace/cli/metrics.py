"""`metrics`: figures of pipelines and agents as they are now, or one metric over time, for people and for programs."""

from __future__ import annotations

import csv
import io
import json
import sys
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from headrace.cli import options
from headrace.cli.durations import seconds
from headrace.cli.exits import say
from headrace.cli.figures import HEADS, cell, sparkline
from headrace.cli.output import Column, plain, rfc3339, show_lines, table, when
from headrace.cli.target import talk

if TYPE_CHECKING:
    from headrace.api import Figures, MetricLine
    from headrace.management import ManagementClient

_TREND = "fluentbit_input_records_total"
_TREND_S, _TREND_STEP_S = 15 * 60, 30


class MetricFormat(StrEnum):
    TABLE = "table"
    JSON = "json"
    CSV = "csv"


def metrics(
    context: typer.Context,
    pipeline: Annotated[
        str, typer.Argument(help="Only of this pipeline.", metavar="[PIPELINE]", show_default=False)
    ] = "",
    agent: Annotated[str, typer.Option("--agent", help="Only of this agent, by name or id.", metavar="AGENT")] = "",
    plugin: Annotated[str, typer.Option("--plugin", help="Only of this plugin, such as tail.0.", metavar="NAME")] = "",
    selector: options.AgentSelector = "",
    by: Annotated[
        str,
        typer.Option("--by", help="One row for each: agent, pipeline, plugin, kind, or a kept label.", metavar="TAGS"),
    ] = "pipeline",
    name: Annotated[
        str, typer.Option("--metric", help="This metric over time, by Fluent Bit's name.", metavar="NAME")
    ] = "",
    since: Annotated[str, typer.Option("--since", help="With --metric: how far back.", metavar="TIME")] = "1h",
    step: Annotated[
        str, typer.Option("--step", help="With --metric: one value for each; else sixty in all.", metavar="TIME")
    ] = "",
    watch: options.Watch = False,
    output: Annotated[MetricFormat, typer.Option("--output", "-o", help="How to print.")] = MetricFormat.TABLE,
) -> None:
    """Print records and bytes by the second, errors, retries and loss; with --metric one metric over time."""
    tags = tuple(tag.strip() for tag in by.split(",") if tag.strip())
    if watch and name:
        raise typer.BadParameter("--watch goes with figures, not with --metric")
    from headrace import api

    filters: dict[str, Any] = {"pipeline": pipeline, "agent": agent, "plugin": plugin, "selector": selector, "by": tags}

    async def over_time(client: ManagementClient) -> None:
        end = datetime.now(UTC)
        request = api.QueryMetricsRequest(
            name=name,
            start=end - timedelta(seconds=seconds(since, "--since")),
            end=end,
            step_seconds=round(seconds(step, "--step")) if step else 0,
            **filters,
        )
        _show_lines_of(await client.query_metrics(request), tags, output)

    async def now(client: ManagementClient) -> None:
        figures = await client.latest_metrics(api.LatestMetricsRequest(**filters))
        trends: Sequence[MetricLine] = ()
        if output is MetricFormat.TABLE and figures:
            end = datetime.now(UTC)
            start = end - timedelta(seconds=_TREND_S)
            trends = await client.query_metrics(
                api.QueryMetricsRequest(name=_TREND, start=start, end=end, step_seconds=_TREND_STEP_S, **filters)
            )
        _show_figures(figures, tags, output, trends)

    async def again_and_again(client: ManagementClient) -> None:
        widths: list[int] = []
        is_first = True
        async for figures in client.watch_metrics(api.WatchMetricsRequest(**filters)):
            match output:
                case MetricFormat.TABLE:
                    if figures:
                        show_lines(table(figures, [Column("AT", lambda row: when(row.at)), *_columns(tags)], widths))
                case MetricFormat.JSON:
                    show_lines(json.dumps(_document(row), ensure_ascii=False) for row in figures)
                case MetricFormat.CSV:
                    _write_csv(_csv_rows(figures, tags), head=_csv_head(tags) if is_first else None)
            is_first = False

    talk(context, over_time if name else again_and_again if watch else now)


def figure_lines(figures: Sequence[Figures], tags: Sequence[str]) -> list[str]:
    """A table of figures, for `describe`."""
    return table(figures, _columns(tags))


def _columns(tags: Sequence[str]) -> list[Column[Figures]]:
    def of_tag(tag: str) -> Column[Figures]:
        return Column(tag.upper(), lambda row: row.tags.get(tag, ""))

    def of_figure(name: str, head: str) -> Column[Figures]:
        return Column(head, lambda row: cell(name, row.values.get(name)))

    return [*(of_tag(tag) for tag in tags), *(of_figure(name, head) for name, head in HEADS.items())]


def _show_figures(
    figures: Sequence[Figures], tags: Sequence[str], format: MetricFormat, trends: Sequence[MetricLine]
) -> None:
    match format:
        case MetricFormat.JSON:
            _write(json.dumps([_document(row) for row in figures], indent=2) + "\n")
        case MetricFormat.CSV:
            _write_csv(_csv_rows(figures, tags), head=_csv_head(tags))
        case MetricFormat.TABLE if not figures:
            say("no metrics of the last minute")
        case MetricFormat.TABLE:
            drawn = {_key(line.tags, tags): sparkline([point.value for point in line.points]) for line in trends}
            trend: Column[Figures] = Column("15 MIN", lambda row: drawn.get(_key(row.tags, tags), ""))
            show_lines(table(figures, [*_columns(tags), trend]))


def _show_lines_of(lines: Sequence[MetricLine], tags: Sequence[str], format: MetricFormat) -> None:
    match format:
        case MetricFormat.JSON:
            _write(json.dumps(plain(lines), indent=2) + "\n")
        case MetricFormat.CSV:
            rows = (
                [*(line.tags.get(tag, "") for tag in tags), rfc3339(point.at), repr(point.value)]
                for line in lines
                for point in line.points
            )
            _write_csv(rows, head=[*tags, "at", "value"])
        case MetricFormat.TABLE if not lines:
            say("no such metrics in that time")
        case MetricFormat.TABLE:
            columns: list[Column[MetricLine]] = [
                *(Column(tag.upper(), lambda line, tag=tag: line.tags.get(tag, "")) for tag in tags),  # type: ignore[misc]  # a default, to keep the tag
                Column("FIRST", lambda line: cell("", line.points[0].value)),
                Column("LAST", lambda line: cell("", line.points[-1].value)),
                Column("MIN", lambda line: cell("", min(point.value for point in line.points))),
                Column("MAX", lambda line: cell("", max(point.value for point in line.points))),
                Column("OVER TIME", lambda line: sparkline([point.value for point in line.points])),
            ]
            show_lines(table(lines, columns))


def _document(row: Figures) -> dict[str, Any]:
    return {"tags": dict(row.tags), "at": rfc3339(row.at), "values": dict(row.values)}


def _key(found: Any, tags: Sequence[str]) -> tuple[str, ...]:
    """A group by its tags; an agent by its id, since two may have one name."""
    return tuple(str(found.get("agent_id" if tag == "agent" else tag, "")) for tag in tags)


def _csv_head(tags: Sequence[str]) -> list[str]:
    return [*tags, "at", *HEADS]


def _csv_rows(figures: Sequence[Figures], tags: Sequence[str]) -> Iterable[list[str]]:
    for row in figures:
        values = (repr(row.values[name]) if name in row.values else "" for name in HEADS)
        yield [*(row.tags.get(tag, "") for tag in tags), rfc3339(row.at), *values]


def _write_csv(rows: Iterable[list[str]], *, head: list[str] | None) -> None:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    if head is not None:
        writer.writerow(head)
    writer.writerows(rows)
    _write(text.getvalue())


def _write(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()
