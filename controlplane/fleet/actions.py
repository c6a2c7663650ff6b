"""What operators ask of running workloads: restart, retry, show the log. Each is a command to the agents concerned."""

from __future__ import annotations

from collections.abc import Sequence

from controlplane.changes import follow
from controlplane.fleet.agents import find
from controlplane.fleet.commands import Commands
from controlplane.model import CommandRow, ObservedRow
from controlplane.state.store import Store
from controlplane.view import AgentView, View
from controlplane.words import some
from headrace import api, selector
from headrace.errors import InvalidError, NotFoundError, UnavailableError
from headrace.types import AgentState, CommandKind

_LINES = 100
_MOST_LINES = 10_000
_TIMEOUT_S = 15.0
_REACHABLE = (AgentState.CONNECTED, AgentState.SUSPECT)


class Actions:
    """Actions on workloads; safe to use from many tasks of one loop."""

    def __init__(self, *, store: Store, view: View, commands: Commands) -> None:
        self._store = store
        self._view = view
        self._commands = commands

    async def restart(self, name: str, chosen: str, *, author: str) -> tuple[api.CommandResult, ...]:
        """Starts the engines of a pipeline anew. Raises NotFoundError."""
        return await self._everywhere(CommandKind.RESTART, name, chosen, author)

    async def retry(self, name: str, chosen: str, *, author: str) -> tuple[api.CommandResult, ...]:
        """Lifts quarantines, so that what is desired is tried again. Raises NotFoundError."""
        return await self._everywhere(CommandKind.RETRY, name, chosen, author)

    async def logs(self, request: api.GetLogsRequest) -> str:
        """The last lines of one workload's log. Raises NotFoundError, InvalidError, UnavailableError."""
        agents = await self._running(request.pipeline)
        if request.agent:
            agent = find(self._view, request.agent)
            if agent.row.id not in {other.row.id for other in agents}:
                raise NotFoundError(f"agent {agent.row.name!r} does not run pipeline {request.pipeline!r}")
        elif len(agents) == 1:
            agent = agents[0]
        else:
            names = ", ".join(sorted(agent.row.name for agent in agents)[:8])
            raise InvalidError(f"{len(agents)} agents run pipeline {request.pipeline!r}; say which: {names}")
        lines = min(request.lines or _LINES, _MOST_LINES)
        rows = await self._commands.ask(
            [agent.row.id], CommandKind.LOGS, pipeline=request.pipeline, lines=lines, timeout_s=_TIMEOUT_S
        )
        row = rows.get(agent.row.id)
        if row is None or not row.done:
            raise UnavailableError(f"agent {agent.row.name!r} ({agent.row.state}) did not answer in {_TIMEOUT_S:.0f} s")
        if not row.ok:
            raise UnavailableError(f"agent {agent.row.name!r}: {row.message}")
        return row.output.decode(errors="replace")

    async def _everywhere(
        self, kind: CommandKind, name: str, chosen: str, author: str
    ) -> tuple[api.CommandResult, ...]:
        wanted = selector.parse(chosen or "*")
        agents = [agent for agent in await self._running(name) if wanted.matches(agent.labels)]
        if not agents:
            raise NotFoundError(f"no agent with labels {str(wanted)!r} runs pipeline {name!r}")
        async with self._store.write() as tx:
            message = f"asked of {some(len(agents), 'agent')}"
            tx.event(f"pipeline.{kind.value}", message, actor=author, pipeline=name)
        reachable = [agent.row.id for agent in agents if agent.row.state in _REACHABLE]
        rows = await self._commands.ask(reachable, kind, pipeline=name, timeout_s=_TIMEOUT_S)
        return tuple(_result(agent, rows.get(agent.row.id)) for agent in agents)

    async def _running(self, name: str) -> Sequence[AgentView]:
        """The agents that should run a pipeline, or do. Raises NotFoundError."""
        async with self._store.read() as reader:
            await follow(self._view, reader)
            observed = {row.agent_id for row in await reader.find(ObservedRow, pipeline=name)}
        pipeline = self._view.pipelines.get(name)
        agents = [
            agent
            for agent in self._view.present()
            if agent.row.id in observed or (pipeline is not None and pipeline.matches(agent))
        ]
        if not agents:
            raise NotFoundError(f"no agent runs pipeline {name!r}")
        return agents


def _result(agent: AgentView, row: CommandRow | None) -> api.CommandResult:
    """How it ended there; without a row it was not asked."""
    if row is None:
        ok, message = False, f"not reachable: {agent.row.state}"
    elif not row.done:
        ok, message = False, f"no answer in {_TIMEOUT_S:.0f} s"
    else:
        ok, message = row.ok, row.message
    return api.CommandResult(agent_id=agent.row.id, agent_name=agent.row.name, ok=ok, message=message)
