"""`cluster bootstrap`: agents on every node of another cluster, that enrol here; and away with them again."""

from __future__ import annotations

import asyncio
import base64
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated

import typer

from headrace.cli import cluster_manifests as manifests
from headrace.cli import durations, options
from headrace.cli.exits import Exit, say
from headrace.cli.output import Column, Format, show_lines, show_list, yaml_text
from headrace.cli.target import Target, talk

if TYPE_CHECKING:
    from headrace.api import Token
    from headrace.cli.cluster_nodes import Node, Standing
    from headrace.cli.kubernetes import Cluster
    from headrace.management import ManagementClient

PAUSE_S = 1.0
"""Between two looks at a cluster that is waited for."""
_SPARE = timedelta(hours=1)
"""A token that is good for no longer is replaced by a new one."""

group = typer.Typer(name="cluster", help="Agents on the nodes of other clusters.", no_args_is_help=True)


@group.callback()
def clusters() -> None:
    """Keeps `bootstrap` a word of its own."""


@group.command()
def bootstrap(
    context: typer.Context,
    name: Annotated[str, typer.Option("--name", help="Stamped on its agents as label cluster.", metavar="NAME")],
    server: Annotated[
        str, typer.Option("--server", help="Where its agents connect; required to bootstrap.", metavar="HOST:PORT")
    ] = "",
    kube: Annotated[str, typer.Option("--context", help="Of the kubeconfig; else the current.", metavar="C")] = "",
    namespace: Annotated[str, typer.Option("--namespace", "-n", help="Made if it is not there.")] = "headrace",
    image: Annotated[str, typer.Option("--image", help="Of the agent.")] = "headrace-agent",
    agents: Annotated[int, typer.Option("--agents", help="How many may be there at once.", min=1)] = 1000,
    ttl: Annotated[str, typer.Option("--ttl", help="How long new nodes may enrol.", metavar="TIME")] = "30d",
    variables: Annotated[
        list[str] | None, typer.Option("--env", help="Of the agents; may be repeated.", metavar="NAME=VALUE")
    ] = None,
    insecure: Annotated[bool, typer.Option("--channel-insecure", help="Plain text to --server.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the YAML, without the token; ask nobody.")] = False,
    uninstall: Annotated[bool, typer.Option("--uninstall", help="Take it all away, and revoke the token.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Take over what others manage.")] = False,
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="Until an agent of each node is connected.")] = True,
    timeout: options.Timeout = "5m",
    output: options.Output = Format.TABLE,
) -> None:
    """Put an agent on every node of a cluster; again changes what differs. --tls-ca is whom they trust, too."""
    from headrace.location import parse_location
    from headrace.names import validate_name

    validate_name(name, "cluster")
    validate_name(namespace, "namespace")
    if not (server or uninstall):
        raise typer.BadParameter("say where agents connect, such as headrace.example.com:443", param_hint="'--server'")
    target: Target = context.obj
    layout = manifests.Layout(
        cluster=name,
        server=server,
        namespace=namespace,
        image=image,
        ca=target.ca_bytes(),
        tls=not insecure and (uninstall or parse_location(server).tls is not False),
        variables=options.pairs(variables, "--env"),
    )
    if dry_run:
        _print(layout)
        return
    from headrace.cli.kubeconfig import access
    from headrace.cli.kubernetes import Cluster

    work = _Bootstrap(
        cluster=Cluster(access(kube)),
        layout=layout,
        agents=agents,
        ttl_s=int(durations.seconds(ttl, "--ttl")),
        force=force,
    )
    if uninstall:
        talk(context, work.remove)
        return
    limit = durations.seconds(timeout, "--timeout")

    async def action(client: ManagementClient) -> Standing | None:
        await work.install(client)
        return await work.until_connected(client, limit) if wait else None

    found = talk(context, action)
    if found is None:
        return
    show_list(found.nodes, columns=_COLUMNS, document=lambda node: node, format=output, none="no node is to have one")
    if not found.is_complete:
        say(f"not all agents are connected after {timeout}; kubectl -n {namespace} describe pods says why")
        raise typer.Exit(Exit.TIMED_OUT)


@dataclass(frozen=True, kw_only=True)
class _Bootstrap:
    cluster: Cluster
    layout: manifests.Layout
    agents: int
    ttl_s: int
    force: bool

    async def install(self, client: ManagementClient) -> None:
        """Raises ConflictError where the namespace is on its way out, or somebody else manages a part."""
        from headrace.errors import ConflictError, HeadraceError

        home = manifests.namespace(self.layout)
        there = await asyncio.to_thread(self.cluster.get, home)
        if there is not None and _is_going(there):
            raise ConflictError(
                f"namespace {self.layout.namespace!r} is being deleted there; wait until it is gone, or name another"
            )
        if there is None or _is_ours(there):
            await self._apply(home)
        kept = await self._kept(client)
        if kept is None:
            made = await client.create_token(
                ttl_seconds=self.ttl_s,
                max_agents=self.agents,
                labels={"cluster": self.layout.cluster},
                scope=f"cluster={self.layout.cluster}",
                description=f"cluster {self.layout.cluster}",
            )
            try:
                await self._apply(manifests.secret(self.layout, made.secret))
            except HeadraceError:
                await client.revoke_token(made.token.id)  # nobody has it
                raise
            await self._revoke_others(client, made.token.id)
        for document in manifests.workloads(self.layout):
            await self._apply(document)

    async def _kept(self, client: ManagementClient) -> Token | None:
        """The token that is there, if it is still good for this cluster."""
        secret = await asyncio.to_thread(self.cluster.get, manifests.secret(self.layout))
        known = {token.id: token for token in await client.list_tokens()}
        token = known.get(_token_id(secret))
        if token is None or token.revoked or dict(token.labels) != {"cluster": self.layout.cluster}:
            return None
        is_lasting = token.expires_at is None or token.expires_at > datetime.now(UTC) + _SPARE
        return token if is_lasting and token.max_agents == self.agents else None

    async def _revoke_others(self, client: ManagementClient, kept: str) -> None:
        for token in await client.list_tokens():
            if token.id != kept and not token.revoked and token.description == f"cluster {self.layout.cluster}":
                await client.revoke_token(token.id)

    async def _apply(self, document: manifests.Document) -> None:
        from headrace.cli.kubernetes import name_of

        await asyncio.to_thread(self.cluster.apply, document, force=self.force)
        say(f"{name_of(document)} applied")

    async def until_connected(self, client: ManagementClient, limit: float) -> Standing:
        """How it stands when every node has its agent, or when the time is up."""
        from headrace.cli.cluster_nodes import standing

        daemon_set = manifests.workloads(self.layout)[-1]
        loop = asyncio.get_running_loop()
        end = loop.time() + limit
        while True:
            there = await asyncio.to_thread(self.cluster.get, daemon_set) or daemon_set
            pods = await asyncio.to_thread(self.cluster.pods, self.layout.namespace, manifests.SELECTOR)
            found = standing(there, pods, await client.list_agents(f"cluster={self.layout.cluster}"))
            if found.is_complete or loop.time() >= end:
                return found
            await asyncio.sleep(min(PAUSE_S, max(0.0, end - loop.time())))

    async def remove(self, client: ManagementClient) -> None:
        """What is not there is no error. A namespace of ours goes; agents' data stays on the nodes."""
        from headrace.cli.kubernetes import name_of

        home = manifests.namespace(self.layout)
        there = await asyncio.to_thread(self.cluster.get, home)
        documents = [*reversed(manifests.workloads(self.layout)), manifests.secret(self.layout)]
        if there is not None and _is_ours(there):
            documents.append(home)
        for document in documents if there is not None else []:
            if await asyncio.to_thread(self.cluster.delete, document):
                say(f"{name_of(document)} deleted")
        await self._revoke_others(client, "")
        show_lines([f"cluster/{self.layout.cluster} removed"])


def _print(layout: manifests.Layout) -> None:
    documents = [manifests.namespace(layout), *manifests.workloads(layout)]
    show_lines(["---\n".join(yaml_text(document) for document in documents).rstrip()])
    say(
        f"without the token; make it: headrace token create --agents 1000 --ttl 30d --label cluster={layout.cluster} "
        f"--selector-allow cluster={layout.cluster} | kubectl -n {layout.namespace} create secret generic "
        f"{manifests.ENROL} --from-file=token=/dev/stdin"
    )


def _is_going(namespace: manifests.Document) -> bool:
    return (namespace.get("status") or {}).get("phase") == "Terminating"


def _is_ours(namespace: manifests.Document) -> bool:
    labels = namespace["metadata"].get("labels") or {}
    return manifests.OURS.items() <= labels.items()


def _token_id(secret: manifests.Document | None) -> str:
    """Of `hrb_<id>.<secret>`."""
    data = ((secret or {}).get("data") or {}).get("token", "")
    text = base64.b64decode(data).decode("ascii", "replace").strip()
    return text.removeprefix("hrb_").partition(".")[0]


_COLUMNS: tuple[Column[Node], ...] = (
    Column("NODE", lambda node: node.name),
    Column("POD", lambda node: node.pod),
    Column("AGENT", lambda node: node.agent),
)
