"""`serve`: the control plane alone, in the foreground, in place of this process; and its arguments, for `up` too."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import typer

from headrace.cli import options, programs
from headrace.cli.durations import seconds
from headrace.limits import LONGEST_SAMPLE_S, SHORTEST_SAMPLE_S


@dataclass(frozen=True, slots=True, kw_only=True)
class Doors:
    """Where the three listeners are, and which of them may speak plain text off loopback."""

    http: str
    grpc: str
    channel: str
    http_insecure: bool = False
    grpc_insecure: bool = False
    channel_insecure: bool = False


def serve(
    context: typer.Context,
    data_dir: options.DataDir = None,
    state: options.State = "",
    metrics: options.Metrics = "",
    sample_interval: options.SampleInterval = "",
    http: options.Http = options.HTTP_ADDRESS,
    grpc: options.Grpc = options.GRPC_ADDRESS,
    channel: options.Channel = options.CHANNEL_ADDRESS,
    http_insecure: options.HttpInsecure = False,
    grpc_insecure: options.GrpcInsecure = False,
    channel_insecure: options.ChannelInsecure = False,
) -> None:
    """Run a control plane until SIGINT or SIGTERM; for TLS and more options see python -m controlplane serve -h."""
    doors = Doors(
        http=http,
        grpc=grpc,
        channel=channel,
        http_insecure=http_insecure,
        grpc_insecure=grpc_insecure,
        channel_insecure=channel_insecure,
    )
    programs.become(
        programs.CONTROL_PLANE,
        [
            *arguments(
                programs.data_dir(data_dir),
                state=state,
                metrics=metrics,
                sample_interval=sample_interval,
                doors=doors,
            ),
            *context.args,
        ],
    )


def arguments(folder: Path, *, state: str, metrics: str, sample_interval: str, doors: Doors) -> Iterator[str]:
    """What the control plane is started with."""
    yield from ("serve", "--data-dir", str(folder))
    if state:
        yield from ("--state", state)
    if metrics:
        yield from ("--metrics", metrics)
    if sample_interval:
        interval_s = seconds(sample_interval, "--sample-interval")
        if not SHORTEST_SAMPLE_S <= interval_s <= LONGEST_SAMPLE_S:
            raise typer.BadParameter(
                f"{sample_interval!r} is not from 1s to 1h; to keep no metrics give --metrics none",
                param_hint="'--sample-interval'",
            )
        yield from ("--sample-interval", f"{interval_s:g}")
    yield from ("--http", doors.http, "--grpc", doors.grpc, "--channel", doors.channel)
    for name, insecure in (
        ("http", doors.http_insecure),
        ("grpc", doors.grpc_insecure),
        ("channel", doors.channel_insecure),
    ):
        if insecure:
            yield f"--{name}-insecure"
