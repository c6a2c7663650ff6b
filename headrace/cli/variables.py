"""`variable set`, `unset` and `list`: values of ${NAME} in configurations, by the labels of agents."""

from __future__ import annotations

from typing import Annotated

import typer

from headrace.cli import get, options
from headrace.cli.output import show_lines
from headrace.cli.target import talk

group = typer.Typer(name="variable", help="Values of ${NAME} in configurations.", no_args_is_help=True)
group.command("list")(get.variables)

Agents = Annotated[str, typer.Option("--selector", "-l", help="For the agents with these labels.", metavar="SELECTOR")]


@group.command("set")
def set_(
    context: typer.Context,
    values: Annotated[list[str], typer.Argument(help="Values.", metavar="NAME=VALUE", show_default=False)],
    selector: Agents = "*",
) -> None:
    """Set variables; what refers to them is applied anew."""
    from headrace.api import Variable

    pairs = options.pairs(values, "NAME=VALUE")
    variables = [Variable(name=name, value=value, selector=selector) for name, value in pairs.items()]
    talk(context, lambda client: client.set_variables(set=variables))
    show_lines(f"variable/{name} set for {selector}" for name in pairs)


@group.command()
def unset(
    context: typer.Context,
    names: Annotated[list[str], typer.Argument(help="Names.", metavar="NAME", show_default=False)],
    selector: Agents = "*",
) -> None:
    """Unset variables that were set for the same selector."""
    from headrace.api import Variable

    variables = [Variable(name=name, selector=selector) for name in names]
    talk(context, lambda client: client.set_variables(unset=variables))
    show_lines(f"variable/{name} unset for {selector}" for name in names)
