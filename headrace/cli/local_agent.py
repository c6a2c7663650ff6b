"""What `up` does beside its two children: a token for the local agent, the demo, and what to say when all is ready."""

from __future__ import annotations

import asyncio
import shutil
import sys
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from datetime import datetime
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

from headrace import local
from headrace.cli import manifest
from headrace.cli.exits import say
from headrace.cli.options import GRPC_ADDRESS
from headrace.cli.output import labels_text
from headrace.errors import InvalidError, NotFoundError
from headrace.security import parse_address
from headrace.types import AgentState

if TYPE_CHECKING:
    from headrace.api import Agent
    from headrace.management import ManagementClient

LABELS: Mapping[str, str] = {"role": "local"}
SELECTOR = "role=local"
DEMO = "demo"
_TOKEN_TTL_S = 600


def reachable(address: str) -> str:
    """Where to call a listener of this machine: one on every address answers on loopback."""
    host, _, port = address.rpartition(":")
    return f"{ {'0.0.0.0': '127.0.0.1', '[::]': '[::1]', '::': '[::1]'}.get(host, host) }:{port}"


def management_token(address: str) -> str:
    """What the control plane wrote for this user; the environment and the config file may speak of another one."""
    return local.token_file(parse_address(address).port).read_text().strip()


@asynccontextmanager
async def token(client: ManagementClient, path: Path) -> AsyncIterator[str]:
    """The id of a bootstrap token for one agent, in a file that only its owner can read; both are gone afterwards.

    An agent that enrolled before does not need it.
    """
    made = await client.create_token(
        ttl_seconds=_TOKEN_TTL_S, max_uses=1, labels=LABELS, description="for the local agent of `headrace up`"
    )
    path.unlink(missing_ok=True)
    path.touch(mode=0o600, exist_ok=False)
    path.write_text(f"{made.secret}\n")
    try:
        yield made.token.id
        if any(token.id == made.token.id and not token.uses for token in await client.list_tokens()):
            await client.revoke_token(made.token.id)
    finally:
        path.unlink(missing_ok=True)


async def connected(client: ManagementClient, *, since: datetime, token_id: str) -> Agent:
    """The local agent, once it has connected; whoever asks with its token is approved of, where that is needed."""
    approved: set[str] = set()
    while True:
        for agent in await client.list_agents():
            if agent.waits and agent.token_id == token_id and agent.id not in approved:
                await client.approve_agent(agent.id)
                approved.add(agent.id)
            is_local = LABELS.items() <= agent.labels.items() and agent.state is AgentState.CONNECTED
            if is_local and agent.connected_at and agent.connected_at >= since:
                return agent
        await asyncio.sleep(0.1)


async def is_first_demo(client: ManagementClient) -> bool:
    """Whether the demo pipeline never was there; it is applied once, so that it can be changed and deleted."""
    try:
        return not await client.list_revisions(DEMO)
    except NotFoundError:
        return True


async def prepare_demo(client: ManagementClient, folder: Path) -> None:
    """The folder that the demo works in, with something to read, and the variable that names it."""
    from headrace.api import Variable

    folder.mkdir(mode=0o700, exist_ok=True)
    with (folder / "input.log").open("a") as log:
        log.write('{"level": "info", "message": "welcome to Headrace"}\n')
    await client.set_variables(set=[Variable(name="DEMO_DIR", value=str(folder), selector=SELECTOR)])


async def apply_demo(client: ManagementClient) -> None:
    """Says so when the demo is refused: what else there is works without it."""
    try:
        await client.apply_pipelines([demo_manifest().manifest], reason="the demo of `headrace up`")
    except InvalidError as error:
        say(f"warning: the demo pipeline was not applied: {error.message}")


async def has_demo(client: ManagementClient) -> bool:
    """Whether the demo pipeline is there now."""
    return any(pipeline.manifest.name == DEMO for pipeline in await client.list_pipelines())


def demo_manifest() -> manifest.Source:
    """The demo pipeline, which is part of the program."""
    path = files("headrace.cli").joinpath("demo.yaml")

    def refuse(name: str) -> bytes:
        raise InvalidError(f"the demo has no file {name!r}")

    (source,) = manifest.parse(path.read_text(), file="demo.yaml", read=refuse)
    return source


def ready_lines(folder: Path, bound: Mapping[str, str], agent: Agent, *, demo: bool) -> Iterator[str]:
    """What runs, where, and what to do next."""
    command = _own_command()
    engines = ", ".join(f"{engine.engine} {engine.version}".strip() for engine in agent.facts.engines)
    yield f"Headrace is ready. Its data and logs are in {folder}. Ctrl-C ends it."
    yield ""
    yield f"  management  {bound['grpc']}"
    yield f"  channel     {bound['channel']}  (agents connect here)"
    yield f"  http        {bound['http']}  (/healthz, /readyz)"
    yield f"  agent       {agent.facts.name} ({labels_text(agent.labels)}) with {engines or 'no engine'}"
    if demo:
        yield f"  demo        reads {folder}/demo/input.log, writes {folder}/demo/output.log"
    yield ""
    yield "Next, in a second shell:"
    if reachable(bound["grpc"]) != GRPC_ADDRESS:
        yield f"  export HEADRACE_SERVER={reachable(bound['grpc'])}"
    yield f"  {command} get pipelines"
    if demo:
        yield f"  {command} describe pipeline {DEMO}"
        yield f"""  echo '{{"level": "error", "message": "hello"}}' >> {folder}/demo/input.log"""
        yield f"  tail -f {folder}/demo/output.log"
    yield f"  {command} apply -f FILE --wait"


def _own_command() -> str:
    """How the user can call this command again, wherever it is installed."""
    if shutil.which("headrace"):
        return "headrace"
    return f"{sys.executable} -m headrace.cli" if Path(sys.argv[0]).name == "__main__.py" else sys.argv[0]
