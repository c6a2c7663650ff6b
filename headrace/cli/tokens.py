"""`token create`, `list`, `show` and `revoke`: bootstrap tokens, with which agents enrol."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from headrace.cli import durations, get, options
from headrace.cli.exits import say
from headrace.cli.output import Format, labels_text, plain, show_document, show_lines, when
from headrace.cli.target import Target, talk
from headrace.cli.token_forms import Form, Invitation, written

if TYPE_CHECKING:
    from headrace.api import CreateTokenResponse, Token
    from headrace.management import ManagementClient

_ANYWHERE = ("0.0.0.0:", "[::]:")

group = typer.Typer(name="token", help="Bootstrap tokens, with which agents enrol.", no_args_is_help=True)
group.command("list")(get.tokens)


@group.command()
def create(
    context: typer.Context,
    labels: options.Labels = None,
    ttl: Annotated[str, typer.Option("--ttl", help="How long it is good.", metavar="TIME")] = "1h",
    uses: Annotated[
        int | None, typer.Option("--uses", help="How often; 1, or with --agents any.", metavar="N", min=1)
    ] = None,
    agents: Annotated[
        int | None, typer.Option("--agents", help="How many of its agents may be there at once.", metavar="N", min=1)
    ] = None,
    scope: Annotated[
        list[str] | None,
        typer.Option("--selector-allow", help="Labels an agent may claim; may be repeated.", metavar="SELECTOR"),
    ] = None,
    networks: Annotated[
        list[str] | None, typer.Option("--cidr", help="From where it may be used; may be repeated.", metavar="CIDR")
    ] = None,
    approve: Annotated[bool, typer.Option("--approve", help="Each agent waits for `agent approve`.")] = False,
    description: Annotated[str, typer.Option("--description", help="What it is for.", metavar="TEXT")] = "",
    form: Annotated[
        Form | None, typer.Option("--format", help="Print it ready to paste, with the address of the channel.")
    ] = None,
    channel: Annotated[
        str, typer.Option("--channel", help="Where its agents connect; else as the plane says.", metavar="HOST:PORT")
    ] = "",
    output: options.Output = Format.TABLE,
) -> None:
    """Make a token and print its secret, this once; --label stamps every agent that enrols with it."""
    target: Target = context.obj
    stamped = options.pairs(labels, "--label")
    seconds = durations.seconds(ttl, "--ttl")
    if seconds < 1:
        raise typer.BadParameter("a token is good for a second at least", param_hint="'--ttl'")
    if form is not None and output is not Format.TABLE:
        raise typer.BadParameter("--format and --output are two ways to print one thing; give one of them")

    async def action(client: ManagementClient) -> None:
        made = await client.create_token(
            ttl_seconds=int(seconds),
            max_uses=uses or 0,
            labels=stamped,
            description=description,
            max_agents=agents or 0,
            scope=",".join(scope or []),
            networks=networks or [],
            approve=approve,
        )
        server = channel or made.channel
        if output is not Format.TABLE:
            # `secret` is what it was called first.
            show_document({**plain(made.token), "token": made.secret, "secret": made.secret, "server": server}, output)
            return
        if form not in (None, Form.FILE) and (not server or server.startswith(_ANYWHERE)):
            await client.revoke_token(made.token.id)
            where = f"listens on {server}, which is no address to connect to" if server else "does not say its address"
            raise typer.BadParameter(f"the control plane {where}; say where agents connect", param_hint="'--channel'")
        # The listeners of a control plane share their certificate: what we know it by, its agents know it by.
        invitation = Invitation(secret=made.secret, server=server, ca=target.ca_bytes())
        show_lines([written(invitation, form or Form.FILE)])
        say(_good_for(made))
        if form is None:
            say("put it in a file and run: headrace-agent run --server HOST:PORT --token-file FILE --data-dir DIR")

    talk(context, action)


@group.command()
def show(
    context: typer.Context,
    id: Annotated[str, typer.Argument(help="A token's id.", metavar="ID", show_default=False)],
    output: options.Output = Format.TABLE,
) -> None:
    """A token without its secret, and the agents that enrolled with it."""
    from headrace.errors import NotFoundError

    async def action(client: ManagementClient) -> None:
        token = next((token for token in await client.list_tokens() if token.id == id), None)
        if token is None:
            raise NotFoundError(f"there is no token {id!r}; `headrace token list` shows those there are")
        agents = [agent for agent in await client.list_agents(all=True) if agent.token_id == id]
        if output is not Format.TABLE:
            enrolled = [{"id": agent.id, "name": agent.facts.name, "state": agent.state} for agent in agents]
            show_document({**plain(token), "agents": enrolled}, output)
            return
        names = ", ".join(f"{agent.facts.name} ({agent.state})" for agent in agents)
        facts = (*_facts(token), ("Agents", names or "none"))
        show_lines([f"{name + ':':<13}{value}" for name, value in facts])

    talk(context, action)


@group.command()
def revoke(
    context: typer.Context,
    id: Annotated[str, typer.Argument(help="A token's id.", metavar="ID", show_default=False)],
) -> None:
    """Let nobody enrol with a token any more; agents that did stay."""
    talk(context, lambda client: client.revoke_token(id))
    show_lines([f"token/{id} revoked"])


def _good_for(made: CreateTokenResponse) -> str:
    token = made.token
    count = f"{token.max_uses or 'any number of'} {'agent' if token.max_uses == 1 else 'agents'}"
    if token.max_agents:
        count += f", {token.max_agents} at one time"
    return f"token {token.id}, good until {when(token.expires_at)} for {count}, labels {labels_text(token.labels)}"


def _facts(token: Token) -> tuple[tuple[str, str], ...]:
    return (
        ("Token", token.id),
        ("Description", token.description or "-"),
        ("Made", f"{when(token.created_at)} by {token.author or '-'}"),
        ("Expires", when(token.expires_at)),
        ("Revoked", "yes" if token.revoked else "no"),
        ("Used", f"{token.uses} of {token.max_uses or 'any number'}"),
        ("At once", str(token.max_agents or "any number")),
        ("Labels", labels_text(token.labels)),
        ("May claim", token.scope or "any label"),
        ("From", ", ".join(token.networks) or "anywhere"),
        ("Approval", "by an operator" if token.approve else "not needed"),
    )
