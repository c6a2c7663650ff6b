"""`user create`, `list` and `revoke`: who may use the management API, each by a token and a role."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from headrace.cli import durations, get, options
from headrace.cli.exits import say
from headrace.cli.output import Format, plain, show_document, show_lines, when
from headrace.cli.target import talk
from headrace.types import Role

if TYPE_CHECKING:
    from headrace.management import ManagementClient

group = typer.Typer(name="user", help="People and programs that use this command line.", no_args_is_help=True)
group.command("list")(get.users)

Name = Annotated[str, typer.Argument(help="A user's name.", metavar="NAME", show_default=False)]


@group.command()
def create(
    context: typer.Context,
    name: Name,
    role: Annotated[Role, typer.Option("--role", help="What they may do, each what those before it may.")],
    ttl: Annotated[
        str, typer.Option("--ttl", help="How long the token is good; else without end.", metavar="TIME")
    ] = "",
    description: Annotated[str, typer.Option("--description", help="Who they are.", metavar="TEXT")] = "",
    output: options.Output = Format.TABLE,
) -> None:
    """Make a user and print the token, this once; HEADRACE_TOKEN takes it."""
    seconds = durations.seconds(ttl, "--ttl") if ttl else 0
    if ttl and seconds < 1:
        raise typer.BadParameter("a token is good for a second at least", param_hint="'--ttl'")

    async def action(client: ManagementClient) -> None:
        made = await client.create_user(name, role, ttl_seconds=int(seconds), description=description)
        if output is not Format.TABLE:
            show_document({**plain(made.user), "token": made.token}, output)
            return
        show_lines([made.token])
        end = f"until {when(made.user.expires_at)}" if made.user.expires_at else "until it is revoked"
        say(f"user {name}, role {role.value}, good {end}; give it to them as HEADRACE_TOKEN")

    talk(context, action)


@group.command()
def revoke(context: typer.Context, name: Name) -> None:
    """Let a user do nothing any more."""
    talk(context, lambda client: client.revoke_user(name))
    show_lines([f"user/{name} revoked"])
