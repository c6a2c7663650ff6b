"""`secret set`, `list`, `delete` and `rekey`: values that pipelines refer to by name, which never come out here.

A value is never an argument: everybody on a machine sees those. It comes from stdin, a file, or the environment.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from headrace.cli import get
from headrace.cli.exits import say
from headrace.cli.output import show_lines
from headrace.cli.secret_values import of_variable, without_line_end
from headrace.cli.target import talk
from headrace.errors import InvalidError

group = typer.Typer(name="secret", help="Secret values of ${NAME} in configurations.", no_args_is_help=True)
group.command("list")(get.secrets)

Name = Annotated[str, typer.Argument(help="A secret's name.", metavar="NAME", show_default=False)]


@group.command("set")
def set_(
    context: typer.Context,
    name: Name,
    from_file: Annotated[
        Path | None, typer.Option("--from-file", help="Read the value from a file.", metavar="FILE")
    ] = None,
    from_env: Annotated[str, typer.Option("--from-env", help="Take that variable's value.", metavar="VARIABLE")] = "",
) -> None:
    """Set a secret to what is on stdin, without its last line end; engines that use it start anew with it."""
    if from_file and from_env:
        raise typer.BadParameter("--from-file and --from-env exclude each other")
    value = _value(name, from_file, from_env)
    done = talk(context, lambda client: client.set_secret(name, value))
    show_lines([f"secret/{name} {f'set, version {done.secret.version}' if done.changed else 'unchanged'}"])
    if done.changed and done.secret.pipelines:
        say(f"applied anew: {', '.join(done.secret.pipelines)}")


@group.command()
def delete(context: typer.Context, name: Name) -> None:
    """Delete a secret that no pipeline refers to."""
    talk(context, lambda client: client.delete_secret(name))
    show_lines([f"secret/{name} deleted"])


@group.command()
def rekey(context: typer.Context) -> None:
    """Encrypt all secrets with the first key of the control plane's key file."""
    changed = talk(context, lambda client: client.rekey_secrets())
    show_lines([f"{changed} {'secret' if changed == 1 else 'secrets'} encrypted with another key"])


def _value(name: str, path: Path | None, variable: str) -> bytes:
    if variable:
        return os.fsencode(of_variable(variable))
    try:
        if path is not None:
            data = path.read_bytes()
        elif sys.stdin.isatty():
            return str(typer.prompt(f"value of {name}", hide_input=True, err=True)).encode()
        else:
            data = sys.stdin.buffer.read()
    except OSError as error:
        raise InvalidError(f"{path or 'stdin'} cannot be read: {error.strerror}") from error
    return without_line_end(data)
