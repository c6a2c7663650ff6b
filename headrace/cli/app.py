"""The command line as a whole: its global options, every command by name, and how errors end it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from headrace.cli import (
    agents,
    apply,
    authorities,
    cluster,
    describe,
    diff,
    events,
    get,
    lifecycle,
    metrics,
    plane,
    secrets,
    serve,
    test,
    tokens,
    up,
    users,
    validate,
    variables,
)
from headrace.cli.arguments import normalise
from headrace.cli.exits import Exit, complain, exit_of
from headrace.cli.target import Target
from headrace.errors import HeadraceError

if TYPE_CHECKING:
    from headrace.cli.forward import Cluster

_EPILOG = (
    "Exit codes: 0 done, 1 refused or failed, 2 usage, 3 not found, 4 unreachable, 5 timed out, 6 some agents failed; "
    "diff: 0 same, 1 different."
)

app = typer.Typer(
    name="headrace",
    help="Manage telemetry pipelines on a fleet of agents.",
    epilog=_EPILOG,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

_START, _CHANGE, _LOOK, _FLEET = "Start", "Change pipelines", "Look", "Run the fleet"

app.command(rich_help_panel=_START)(up.up)
app.command(rich_help_panel=_START, context_settings={"allow_extra_args": True, "ignore_unknown_options": True})(
    serve.serve
)
app.command("test", rich_help_panel=_START)(test.run_tests)
app.command("try", rich_help_panel=_START)(test.try_sample)
app.command(rich_help_panel=_CHANGE)(apply.apply)
app.command(rich_help_panel=_CHANGE)(diff.diff)
app.command(rich_help_panel=_CHANGE)(validate.validate)
app.command(rich_help_panel=_CHANGE)(apply.rollback)
app.command(rich_help_panel=_CHANGE)(apply.delete)
app.command(rich_help_panel=_CHANGE)(lifecycle.adopt)
get.group.command("events")(events.events)
app.add_typer(get.group, rich_help_panel=_LOOK)
app.add_typer(describe.group, rich_help_panel=_LOOK)
app.command("history", rich_help_panel=_LOOK)(get.revisions)
app.command(rich_help_panel=_LOOK)(events.events)
app.command(rich_help_panel=_LOOK)(lifecycle.logs)
app.command(rich_help_panel=_LOOK)(metrics.metrics)
app.command(rich_help_panel=_LOOK)(plane.status)
app.command(rich_help_panel=_LOOK)(plane.version)
app.command(rich_help_panel=_FLEET)(lifecycle.restart)
app.command(rich_help_panel=_FLEET)(lifecycle.retry)
app.add_typer(agents.group, rich_help_panel=_FLEET)
app.add_typer(variables.group, rich_help_panel=_FLEET)
app.add_typer(secrets.group, rich_help_panel=_FLEET)
app.add_typer(tokens.group, rich_help_panel=_FLEET)
app.add_typer(cluster.group, rich_help_panel=_FLEET)
app.add_typer(users.group, rich_help_panel=_FLEET)
app.add_typer(authorities.group, rich_help_panel=_FLEET)
app.command(rich_help_panel=_FLEET)(plane.backup)
app.command(rich_help_panel=_FLEET)(plane.restore)


@app.callback()
def options(
    context: typer.Context,
    server: Annotated[
        str,
        typer.Option(
            "--server",
            help="The management API, or https://HOST/PREFIX; else HEADRACE_SERVER, the config file, 127.0.0.1:8401.",
            metavar="HOST:PORT",
        ),
    ] = "",
    token: Annotated[
        str,
        typer.Option("--token", help="Its token; else HEADRACE_TOKEN, the config file, what `up` wrote.", metavar="T"),
    ] = "",
    kubernetes: Annotated[
        str, typer.Option("--context", help="A control plane in this context of the kubeconfig.", metavar="CONTEXT")
    ] = "",
    namespace: Annotated[
        str, typer.Option("--namespace", "-n", help="Where it is there; else headrace.", metavar="NAMESPACE")
    ] = "",
    tls_ca: Annotated[
        Path | None,
        typer.Option(
            "--tls-ca", help="Speak TLS, trusting these certificates; else the config file's.", metavar="FILE"
        ),
    ] = None,
    tls_client_cert: Annotated[
        Path | None,
        typer.Option(
            "--tls-client-cert",
            "--cert",
            help="Your certificate, where one is asked for; else the config file's.",
            metavar="FILE",
        ),
    ] = None,
    tls_client_key: Annotated[
        Path | None, typer.Option("--tls-client-key", "--key", help="Its key.", metavar="FILE")
    ] = None,
    insecure: Annotated[bool, typer.Option("--insecure", help="Plain text to another machine.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Errors with their traceback.")] = False,
) -> None:
    if bool(tls_client_cert) != bool(tls_client_key):
        raise typer.BadParameter("--tls-client-cert and --tls-client-key go together")
    context.obj = Target(
        server=server,
        token=token,
        ca=tls_ca,
        certificate=tls_client_cert,
        key=tls_client_key,
        cluster=_cluster(kubernetes, namespace, server),
        insecure=insecure,
        debug=debug,
    )


def _cluster(context: str, namespace: str, server: str) -> Cluster | None:
    if not (context or namespace):
        return None
    if server:
        raise typer.BadParameter("--server is not for a control plane that --context and --namespace find")
    from headrace.cli.forward import NAMESPACE, Cluster

    return Cluster(context=context, namespace=namespace or NAMESPACE)


def run(argv: Sequence[str]) -> int:
    """Run one command; every error is told on stderr and ends in an exit code."""
    arguments = normalise(argv)
    try:
        app(arguments, prog_name="headrace")
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    except HeadraceError as error:
        if "--debug" in arguments:
            raise
        complain(error)
        return exit_of(error)
    return Exit.DONE
