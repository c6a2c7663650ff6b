"""A control plane and its agents as real processes on loopback: started, spoken to, killed, started again, cleaned up.

    with Plane(tmp_path / "plane") as plane:
        agent = plane.agent("a-1", labels={"role": "edge"})
        plane.apply("access", CONFIG, "--wait", selector="role=edge")
        plane.until("access", Phase.GOOD)
        agent.kill()

People's commands go through the CLI, as a subprocess; waits ask through the typed client, which is cheaper. Use it from
the main thread: the kernel ends a program with the thread that started it.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import yaml

from headrace import api, local
from headrace.errors import HeadraceError
from headrace.management import ManagementClient
from headrace.types import AgentState, Phase
from tests.fluent_bit import FLUENT_BIT
from tests.processes import Program, processes_in, wait_until
from tests.servers import free_port
from tests.system.cli import Cli

T = TypeVar("T")

ENGINES = ("embedded", *(["fluent-bit"] if FLUENT_BIT else []))
"""What tests of pipelines run on: the real Fluent Bit too, where there is one."""


class Service:
    """A program that can be killed and started again by the same command; `stack` ends it and all in its folder."""

    def __init__(self, command: Sequence[str], *, folder: Path, environment: Mapping[str, str]) -> None:
        self.folder = folder
        self.command = [sys.executable, "-P", "-m", *command]
        self._environment = environment
        self._stack = ExitStack()
        folder.mkdir(parents=True, exist_ok=True)

    def start(self) -> None:
        self.started = datetime.now(UTC)
        self.program = self._stack.enter_context(
            Program(self.command, folder=self.folder, name=self.folder.name, env=self._environment)
        )

    def kill(self) -> None:
        """`kill -9`; its children stay."""
        self.program.kill()

    def stop(self) -> None:
        """In order, by SIGTERM."""
        self.program.stop(30)

    def close(self) -> None:
        """Ends it and all that works in its folder."""
        self._stack.close()


class Agent(Service):
    """`headrace-agent run`, with its data in `folder`/data."""

    def __init__(self, plane: Plane, name: str, command: Sequence[str], *, folder: Path) -> None:
        super().__init__(["agent", *command], folder=folder, environment={"HOME": str(folder)})
        self.name = name
        self._plane = plane

    @property
    def id(self) -> str:
        """What the control plane calls it; its name must be its own."""
        return self._plane.ask(lambda client: client.get_agent(self.name)).id

    @property
    def data(self) -> Path:
        return self.folder / "data"

    def engines(self, pipeline: str = "") -> list[int]:
        """Pids of its engines, or that of one pipeline, which work in the workload's folder."""
        return processes_in(self.data / "workloads" / pipeline)

    def until_connected(self) -> None:
        """Until it has a session that neither program's last start is younger than; fails at once when it ends.

        A control plane that was away for a moment goes on calling its agents connected, and they come back within the
        pause between their tries.
        """

        def is_connected() -> bool:
            agents = self._plane.ask(lambda client: client.list_agents())
            since = max(self.started, self._plane.started)
            return any(
                each.facts.name == self.name
                and each.state is AgentState.CONNECTED
                and each.connected_at is not None
                and each.connected_at >= since
                for each in agents
            )

        self.program.wait_for(is_connected, timeout=60, what=f"{self.name} is connected")


class Plane(Service):
    """`headrace serve`, which keeps its ports over a restart; a context manager that ends its agents too."""

    def __init__(self, folder: Path, *more: str) -> None:
        self.home = folder / "home"
        self.home.mkdir(parents=True, exist_ok=True)
        # Fixed ports, since agents and clients must find it again after a restart.
        self.grpc, self.channel = f"127.0.0.1:{free_port()}", f"127.0.0.1:{free_port()}"
        where = ["--http", "127.0.0.1:0", "--grpc", self.grpc, "--channel", self.channel]
        super().__init__(
            ["headrace.cli", "serve", "--data-dir", str(folder / "data"), *where, *more],
            folder=folder,
            environment=Cli(self.home).environment,
        )
        self.cli = Cli(self.home, self.grpc)
        self._agents = ExitStack()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._agents.close()
        finally:
            self.close()

    def start(self) -> None:
        """Returns when it is ready."""
        super().start()
        path = self.folder / "data/ready.json"
        self.program.wait_for(
            lambda: path.exists() and json.loads(path.read_text())["pid"] == self.program.pid, timeout=60, what="ready"
        )

    def agent(
        self,
        name: str,
        *more: str,
        labels: Mapping[str, str] | None = None,
        via: str = "",
        engine: str = "embedded",
        connected: bool = True,
    ) -> Agent:
        """A new agent in a folder of its own beside the plane's, with labels stamped by its token; `via` a proxy."""
        folder = self.folder.parent / name
        folder.mkdir(exist_ok=True)
        made = self.ask(lambda client: client.create_token(ttl_seconds=600, max_uses=1, labels=labels or {}))
        token = folder / "token"
        token.touch(mode=0o600)
        token.write_text(made.secret)
        where = ["--server", via or self.channel, "--token-file", str(token), "--data-dir", str(folder / "data")]
        agent = Agent(self, name, ["run", *where, "--name", name, "--engine", engine, *more], folder=folder)
        self._agents.callback(agent.close)
        agent.start()
        if connected:
            agent.until_connected()
        return agent

    def manifest(
        self,
        name: str,
        config: str,
        *,
        selector: str = "*",
        engine: str = "auto",
        files: Mapping[str, str] | None = None,
        secrets: Mapping[str, str] | None = None,
    ) -> Path:
        """A pipeline file, as people write it."""
        spec: dict[str, object] = {"selector": selector, "engine": engine, "config": config}
        if files:
            spec["files"] = {file: {"content": content} for file, content in files.items()}
        if secrets:
            spec["secrets"] = [{"name": secret, "env": variable} for variable, secret in secrets.items()]
        document = {"apiVersion": "headrace/v1", "kind": "Pipeline", "metadata": {"name": name}, "spec": spec}
        path = self.folder / f"{name}.yaml"
        path.write_text(yaml.safe_dump(document, sort_keys=False))
        return path

    def apply(self, name: str, config: str, *flags: object, exits: int = 0, **manifest: Any) -> str:
        """`headrace apply` of such a file; what it printed. A wait is a long one: the machine may be busy."""
        path = self.manifest(name, config, **manifest)
        return self.cli("apply", "-f", path, "--timeout", "110s", *flags, exits=exits)

    def ask(self, question: Callable[[ManagementClient], Awaitable[T]]) -> T:
        """One call of the typed client, with the token that the plane wrote for its user."""
        return asyncio.run(self.asked(question))

    async def asked(self, question: Callable[[ManagementClient], Awaitable[T]]) -> T:
        """The same, in the caller's loop."""
        endpoint = local.find(address=self.grpc, environment={"HOME": str(self.home)})
        async with ManagementClient(endpoint.address, endpoint.token) as client:
            return await question(client)

    def workloads(self, pipeline: str) -> dict[str, api.Workload]:
        """A pipeline on every agent, by the agent's name."""
        found = self.ask(lambda client: client.get_pipeline(pipeline))
        return {workload.agent_name: workload for workload in found.workloads}

    def workload(self, pipeline: str, agent: str) -> api.Workload:
        return self.workloads(pipeline)[agent]

    def until(self, pipeline: str, *phases: Phase, agents: int = 1, timeout: float = 30) -> dict[str, api.Workload]:
        """The workloads, once the pipeline's newest generation is in one of the phases on so many agents."""
        seen: dict[str, api.Workload] = {}

        def is_so() -> bool:
            nonlocal seen
            seen = self.answered(lambda: self.workloads(pipeline)) or {}
            return len(seen) == agents and all(workload.phase in phases for workload in seen.values())

        try:
            wait_until(is_so, timeout=timeout)
        except AssertionError:
            raise AssertionError(f"{pipeline} not {phases} on {agents} within {timeout:g} s: {seen}") from None
        return seen

    def answered(self, question: Callable[[], T]) -> T | None:
        """None when the plane cannot answer now, which a wait over its restart must survive."""
        try:
            return question()
        except HeadraceError as error:
            if error.code in ("unavailable", "deadline", "overloaded", "unauthenticated"):
                return None
            raise

    def events(self, *, pipeline: str = "", agent: str = "") -> tuple[api.Event, ...]:
        """Oldest first."""
        return tuple(reversed(self.ask(lambda client: client.list_events(limit=1000, pipeline=pipeline, agent=agent))))


def lines_of(*paths: Path) -> list[str]:
    """The complete lines of files, those that are there, one file after the other."""
    return [line for path in paths if path.exists() for line in _complete(path.read_text())]


def _complete(text: str) -> Iterable[str]:
    return text.split("\n")[:-1]
