"""`get` and `history`: many things of one kind, as a table or for programs; with `--watch`, what changes after that."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import typer

from headrace.cli import options
from headrace.cli.documents import agent_document, pipeline_document, revision_document
from headrace.cli.output import Column, Format, labels_text, plain, show_lines, show_list, table, when, whom
from headrace.cli.target import talk
from headrace.errors import NotFoundError

if TYPE_CHECKING:
    from headrace.api import Agent, Pipeline, Revision, SecretInfo, Token, User, Variable
    from headrace.management import ManagementClient

T = TypeVar("T")
WATCH_INTERVAL_S = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing(Generic[T]):
    """A kind of thing: how it is told apart, and how it is printed."""

    key: Callable[[T], str]
    columns: Sequence[Column[T]]
    document: Callable[[T], Any]
    none: str


def phases_text(phases: dict[str, int]) -> str:
    """`3 good, 1 failed`."""
    return ", ".join(f"{count} {phase}" for phase, count in sorted(phases.items()) if count) or "-"


def state_text(agent: Agent) -> str:
    """One that has not enrolled waits for an operator."""
    return f"{agent.state} approval" if agent.waits else agent.state


PIPELINES: Listing[Pipeline] = Listing(
    key=lambda pipeline: pipeline.manifest.name,
    columns=(
        Column("NAME", lambda p: p.manifest.name),
        Column("REVISION", lambda p: str(p.revision)),
        Column("GENERATION", lambda p: str(p.generation)),
        Column("SELECTOR", lambda p: p.manifest.selector),
        Column("ENGINE", lambda p: p.manifest.engine),
        Column("AGENTS", lambda p: phases_text(dict(p.phases))),
        Column("UPDATED", lambda p: when(p.updated_at)),
    ),
    document=pipeline_document,
    none="no pipelines; make one: headrace apply -f FILE",
)
AGENTS: Listing[Agent] = Listing(
    key=lambda agent: agent.id,
    columns=(
        Column("NAME", lambda a: a.facts.name),
        Column("ID", lambda a: a.id),
        Column("STATE", state_text),
        Column("LABELS", lambda a: labels_text(a.labels)),
        Column("ENGINES", lambda a: ", ".join(f"{e.engine} {e.version}".strip() for e in a.facts.engines)),
        Column("LAST SEEN", lambda a: when(a.last_seen)),
    ),
    document=agent_document,
    none="no agents; headrace token create makes a token with which one enrols: headrace-agent run --token-file F",
)
REVISIONS: Listing[Revision] = Listing(
    key=lambda revision: str(revision.number),
    columns=(
        Column("REVISION", lambda r: str(r.number)),
        Column("GENERATION", lambda r: str(r.generation)),
        Column("ACTION", lambda r: r.action),
        Column("AT", lambda r: when(r.at)),
        Column("BY", lambda r: whom(r.author, r.author_known_by)),
        Column("SHA256", lambda r: r.sha256[:12]),
        Column("REASON", lambda r: r.reason),
    ),
    document=revision_document,
    none="no revisions",
)
TOKENS: Listing[Token] = Listing(
    key=lambda token: token.id,
    columns=(
        Column("ID", lambda t: t.id),
        Column("EXPIRES", lambda t: when(t.expires_at)),
        Column("USED", lambda t: f"{t.uses}/{t.max_uses or 'any'}"),
        Column("LABELS", lambda t: labels_text(t.labels)),
        Column("MAY CLAIM", lambda t: t.scope or "any"),
        Column("FROM", lambda t: ", ".join(t.networks) or "anywhere"),
        Column("BY", lambda t: t.author),
        Column("REVOKED", lambda t: "yes" if t.revoked else "no"),
        Column("DESCRIPTION", lambda t: t.description),
    ),
    document=plain,
    none="no tokens; make one: headrace token create",
)
VARIABLES: Listing[Variable] = Listing(
    key=lambda variable: f"{variable.name} {variable.selector}",
    columns=(
        Column("NAME", lambda v: v.name),
        Column("VALUE", lambda v: v.value),
        Column("SELECTOR", lambda v: v.selector),
    ),
    document=plain,
    none="no variables; set one: headrace variable set NAME=VALUE",
)
USERS: Listing[User] = Listing(
    key=lambda user: user.name,
    columns=(
        Column("NAME", lambda u: u.name),
        Column("ROLE", lambda u: u.role or "-"),
        Column("CREATED", lambda u: when(u.created_at)),
        Column("EXPIRES", lambda u: when(u.expires_at) if u.expires_at else "-"),
        Column("KNOWN BY", lambda u: f"{u.known_by or 'token'} {u.subject}".strip()),
        Column("BY", lambda u: u.author),
        Column("REVOKED", lambda u: "yes" if u.revoked else "no"),
        Column("DESCRIPTION", lambda u: u.description),
    ),
    document=plain,
    none="no users; make one: headrace user create NAME --role ROLE",
)
SECRETS: Listing[SecretInfo] = Listing(
    key=lambda secret: secret.name,
    columns=(
        Column("NAME", lambda s: s.name),
        Column("VERSION", lambda s: str(s.version)),
        Column("UPDATED", lambda s: when(s.updated_at)),
        Column("BY", lambda s: s.author),
        Column("PIPELINES", lambda s: ", ".join(s.pipelines) or "-"),
        Column("PROBLEM", lambda s: s.problem or "-"),
    ),
    document=plain,
    none="no secrets; set one: headrace secret set NAME < FILE",
)


def show(
    context: typer.Context,
    fetch: Callable[[ManagementClient], Awaitable[Sequence[T]]],
    listing: Listing[T],
    *,
    format: Format,
    watch: bool = False,
) -> None:
    """Print what `fetch` answers; with `watch` go on with each thing that is new or no longer the same."""

    async def action(client: ManagementClient) -> None:
        items = await fetch(client)
        if not watch:
            show_list(items, columns=listing.columns, document=listing.document, format=format, none=listing.none)
            return
        widths: list[int] = []
        known: dict[str, str] = {}
        while True:
            fresh = {listing.key(item): (item, _fingerprint(listing.document(item))) for item in items}
            changed = [item for key, (item, mark) in fresh.items() if known.get(key) != mark]
            if changed:
                _show_changed(changed, listing, format, widths)
            known = {key: mark for key, (_, mark) in fresh.items()}
            await asyncio.sleep(WATCH_INTERVAL_S)
            items = await fetch(client)

    talk(context, action)


def _show_changed(items: Sequence[T], listing: Listing[T], format: Format, widths: list[int]) -> None:
    if format is Format.TABLE:
        show_lines(table(items, listing.columns, widths))
    else:
        # One object a line, which is YAML as well.
        show_lines(json.dumps(plain(listing.document(item)), ensure_ascii=False) for item in items)


def _fingerprint(document: Any) -> str:
    """What makes a thing another one; a heartbeat does not."""
    return json.dumps({key: value for key, value in plain(document).items() if key != "last_seen"}, sort_keys=True)


group = typer.Typer(name="get", help="List things.", no_args_is_help=True)


@group.command("pipelines")
@group.command("pipeline", hidden=True)
def pipelines(
    context: typer.Context,
    names: options.Names = None,
    selector: options.LabelSelector = "",
    watch: options.Watch = False,
    output: options.Output = Format.TABLE,
) -> None:
    """Pipelines, by name or by their own labels."""

    async def fetch(client: ManagementClient) -> Sequence[Pipeline]:
        return _named(await client.list_pipelines(selector), names, PIPELINES.key, "pipeline")

    show(context, fetch, PIPELINES, format=output, watch=watch)


@group.command("agents")
@group.command("agent", hidden=True)
def agents(
    context: typer.Context,
    names: options.Names = None,
    selector: options.LabelSelector = "",
    all: options.All = False,
    watch: options.Watch = False,
    output: options.Output = Format.TABLE,
) -> None:
    """Agents, by name or id or labels."""

    async def fetch(client: ManagementClient) -> Sequence[Agent]:
        found = await client.list_agents(selector, all=all)
        if not names:
            return found
        by_id = [agent for agent in found if agent.id in names]
        return by_id or _named(found, names, lambda agent: agent.facts.name, "agent")

    show(context, fetch, AGENTS, format=output, watch=watch)


@group.command("tokens")
def tokens(context: typer.Context, output: options.Output = Format.TABLE) -> None:
    """Bootstrap tokens, without their secrets."""
    show(context, lambda client: client.list_tokens(), TOKENS, format=output)


@group.command("variables")
def variables(context: typer.Context, output: options.Output = Format.TABLE) -> None:
    """Values of ${NAME} in configurations."""
    show(context, lambda client: client.list_variables(), VARIABLES, format=output)


@group.command("users")
def users(context: typer.Context, output: options.Output = Format.TABLE) -> None:
    """Who may use the management API, without their tokens."""
    show(context, lambda client: client.list_users(), USERS, format=output)


@group.command("secrets")
def secrets(context: typer.Context, output: options.Output = Format.TABLE) -> None:
    """Secrets, without their values."""
    show(context, lambda client: client.list_secrets(), SECRETS, format=output)


@group.command("revisions")
def revisions(
    context: typer.Context,
    name: options.Pipeline,
    limit: options.Limit = 0,
    output: options.Output = Format.TABLE,
) -> None:
    """The revisions of a pipeline: who, when, why."""
    show(context, lambda client: client.list_revisions(name, limit=limit), REVISIONS, format=output)


def _named(items: Sequence[T], names: Sequence[str] | None, key: Callable[[T], str], what: str) -> Sequence[T]:
    if not names:
        return items
    missing = [name for name in names if name not in {key(item) for item in items}]
    if missing:
        from headrace.config import did_you_mean

        hint = did_you_mean(missing[0], [key(item) for item in items])
        raise NotFoundError(f"there is no {what} {missing[0]!r}{hint}")
    return [item for item in items if key(item) in names]
