"""`serve`: the control plane alone, in the foreground, in place of this process."""

from __future__ import annotations

from collections.abc import Sequence

import typer

from headrace.cli import options, programs


def serve(
    context: typer.Context,
    data_dir: options.DataDir = None,
    state: options.State = "",
    http: options.Http = options.HTTP_ADDRESS,
    grpc: options.Grpc = options.GRPC_ADDRESS,
    channel: options.Channel = options.CHANNEL_ADDRESS,
) -> None:
    """Run a control plane until SIGINT or SIGTERM; its other options are taken too: python -m controlplane serve -h."""
    folder = programs.data_dir(data_dir)
    arguments = listening(folder, state=state, http=http, grpc=grpc, channel=channel, more=context.args)
    programs.become(programs.CONTROL_PLANE, arguments)


def listening(folder: object, *, state: str, http: str, grpc: str, channel: str, more: Sequence[str] = ()) -> list[str]:
    """The control plane's arguments."""
    where = ["--data-dir", str(folder), "--http", http, "--grpc", grpc, "--channel", channel]
    return ["serve", *where, *(["--state", state] if state else []), *more]
