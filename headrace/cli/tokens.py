"""`token create`, `list` and `revoke`: bootstrap tokens, with which agents enrol."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from headrace.cli import durations, get, options
from headrace.cli.exits import say
from headrace.cli.output import Format, labels_text, plain, show_document, show_lines, when
from headrace.cli.target import talk

if TYPE_CHECKING:
    from headrace.management import ManagementClient

group = typer.Typer(name="token", help="Bootstrap tokens, with which agents enrol.", no_args_is_help=True)
group.command("list")(get.tokens)


@group.command()
def create(
    context: typer.Context,
    labels: options.Labels = None,
    ttl: Annotated[str, typer.Option("--ttl", help="How long it is good.", metavar="TIME")] = "1h",
    uses: Annotated[int, typer.Option("--uses", help="How many agents may enrol with it.", metavar="N", min=1)] = 1,
    description: Annotated[str, typer.Option("--description", help="What it is for.", metavar="TEXT")] = "",
    output: options.Output = Format.TABLE,
) -> None:
    """Make a token and print its secret, this once; --label stamps every agent that enrols with it."""
    stamped = options.pairs(labels, "--label")
    seconds = durations.seconds(ttl, "--ttl")
    if seconds < 1:
        raise typer.BadParameter("a token is good for a second at least", param_hint="'--ttl'")

    async def action(client: ManagementClient) -> None:
        made = await client.create_token(
            ttl_seconds=int(seconds), max_uses=uses, labels=stamped, description=description
        )
        if output is not Format.TABLE:
            show_document({**plain(made.token), "secret": made.secret}, output)
            return
        show_lines([made.secret])
        say(
            f"token {made.token.id}, good until {when(made.token.expires_at)} for {uses} "
            f"{'agent' if uses == 1 else 'agents'}, labels {labels_text(stamped)}\n"
            "put it in a file and run: headrace-agent run --server HOST:PORT --token-file FILE --data-dir DIR"
        )

    talk(context, action)


@group.command()
def revoke(
    context: typer.Context,
    id: Annotated[str, typer.Argument(help="A token's id.", metavar="ID", show_default=False)],
) -> None:
    """Let nobody enrol with a token any more; agents that did stay."""
    talk(context, lambda client: client.revoke_token(id))
    show_lines([f"token/{id} revoked"])
