"""`agent label`, `approve`, `deny` and `revoke`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from headrace.cli import options
from headrace.cli.documents import agent_document
from headrace.cli.exits import say
from headrace.cli.output import Format, labels_text, show_document, show_lines
from headrace.cli.target import talk

if TYPE_CHECKING:
    from headrace.management import ManagementClient

group = typer.Typer(name="agent", help="Let agents in and out, and label them.", no_args_is_help=True)

Agent = Annotated[str, typer.Argument(help="A name or id.", metavar="AGENT", show_default=False)]


@group.command()
def label(
    context: typer.Context,
    agent: Agent,
    labels: Annotated[
        list[str], typer.Argument(help="KEY=VALUE sets, KEY- unsets.", metavar="LABEL", show_default=False)
    ],
    confirm: options.Confirm = 0,
    output: options.Output = Format.TABLE,
) -> None:
    """Change an agent's labels; its pipelines follow at once."""
    unset = [text[:-1] for text in labels if text.endswith("-") and "=" not in text]
    to_set = options.pairs([text for text in labels if not (text.endswith("-") and "=" not in text)], "LABEL")

    async def action(client: ManagementClient) -> None:
        response = await client.set_labels(agent, set=to_set, unset=unset, confirm=confirm)
        if output is not Format.TABLE:
            document = agent_document(response.agent)
            show_document({**document, "gained": response.gained, "lost": response.lost}, output)
            return
        show_lines(
            [f"agent/{response.agent.facts.name or response.agent.id} labels {labels_text(response.agent.labels)}"]
        )
        for verb, names in (("gains", response.gained), ("loses", response.lost)):
            if names:
                say(f"it {verb} {', '.join(names)}")

    talk(context, action)


@group.command()
def approve(
    context: typer.Context,
    agent: Agent,
    replaces: Annotated[
        str, typer.Option("--as", help="It is this agent, which lost its key: keep that id.", metavar="AGENT")
    ] = "",
) -> None:
    """Let in an agent that waits for it; it comes within seconds."""
    id = talk(context, lambda client: client.approve_agent(agent, replaces=replaces))
    show_lines([f"agent/{agent} approved, {id}"])


@group.command()
def deny(context: typer.Context, agent: Agent, reason: options.Reason = "") -> None:
    """Refuse an agent that waits."""
    talk(context, lambda client: client.deny_agent(agent, reason=reason))
    show_lines([f"agent/{agent} denied"])


@group.command()
def revoke(context: typer.Context, agent: Agent, reason: options.Reason = "") -> None:
    """Take an agent's credential away, for good; what it runs goes on until it is stopped there."""
    talk(context, lambda client: client.revoke_agent(agent, reason=reason))
    show_lines([f"agent/{agent} revoked"])
