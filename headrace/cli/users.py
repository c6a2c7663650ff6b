"""`user create`, `list` and `revoke`: who may use the management API, what each is known by, and a role."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from headrace.cli import durations, get, options
from headrace.cli.exits import say
from headrace.cli.output import Format, plain, show_document, show_lines, when
from headrace.cli.target import talk
from headrace.types import KnownBy, Role

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
        str, typer.Option("--ttl", help="How long they may come in; else without end.", metavar="TIME")
    ] = "",
    certificate: Annotated[
        str, typer.Option("--certificate", help="Known by a certificate that names this.", metavar="SUBJECT")
    ] = "",
    header: Annotated[
        str, typer.Option("--header", help="Known by a trusted proxy that names this.", metavar="SUBJECT")
    ] = "",
    of_group: Annotated[
        str, typer.Option("--group", help="Whomever a trusted proxy says to be in this group.", metavar="GROUP")
    ] = "",
    description: Annotated[str, typer.Option("--description", help="Who they are.", metavar="TEXT")] = "",
    output: options.Output = Format.TABLE,
) -> None:
    """Make a user and print the token, this once, which HEADRACE_TOKEN takes; or one who is known without a token."""
    seconds = durations.seconds(ttl, "--ttl") if ttl else 0
    if ttl and seconds < 1:
        raise typer.BadParameter("a token is good for a second at least", param_hint="'--ttl'")
    subjects = {KnownBy.CERTIFICATE: certificate, KnownBy.HEADER: header, KnownBy.GROUP: of_group}
    known = [(kind, subject) for kind, subject in subjects.items() if subject]
    if len(known) > 1:
        raise typer.BadParameter("a user is known by one of --certificate, --header and --group; make one for each")
    known_by, subject = known[0] if known else (KnownBy.TOKEN, "")

    async def action(client: ManagementClient) -> None:
        made = await client.create_user(
            name, role, ttl_seconds=int(seconds), description=description, known_by=known_by, subject=subject
        )
        if output is not Format.TABLE:
            show_document({**plain(made.user), "token": made.token}, output)
            return
        end = f"until {when(made.user.expires_at)}" if made.user.expires_at else "until it is revoked"
        if not made.token:
            say(f"user {name}, role {role.value}, known by {known_by.value} {subject!r}, good {end}")
            return
        show_lines([made.token])
        say(f"user {name}, role {role.value}, good {end}; give it to them as HEADRACE_TOKEN")

    talk(context, action)


@group.command()
def revoke(context: typer.Context, name: Name) -> None:
    """Let a user do nothing any more."""
    talk(context, lambda client: client.revoke_user(name))
    show_lines([f"user/{name} revoked"])
