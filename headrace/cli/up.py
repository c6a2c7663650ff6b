"""`up`: a control plane, an agent beside it and a demo pipeline, in the foreground, on this machine.

Both are child processes; the first that ends takes `up` with it, and says why. The end is in order: the agent with its
engines, then the control plane.
"""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import Awaitable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from headrace.cli import options, programs
from headrace.cli.exits import Exit, complain, say
from headrace.cli.output import show_lines
from headrace.cli.serve import Doors, arguments
from headrace.errors import HeadraceError
from headrace.types import Engine

if TYPE_CHECKING:
    from headrace.cli.child import Child

T = TypeVar("T")

START_TIMEOUT_S = 60.0
_LOGS = ("--log-format", "json")
_AGENT_GRACE_S, _PLANE_GRACE_S = 20.0, 15.0


class Approval(StrEnum):
    """How agents with a good token get in; the local one needs nobody's approval."""

    AUTO = "auto"
    MANUAL = "manual"


def up(
    data_dir: options.DataDir = None,
    state: options.State = "",
    metrics: options.Metrics = "",
    sample_interval: options.SampleInterval = "",
    http: options.Http = options.HTTP_ADDRESS,
    grpc: options.Grpc = options.GRPC_ADDRESS,
    channel: options.Channel = options.CHANNEL_ADDRESS,
    http_insecure: options.HttpInsecure = False,
    grpc_insecure: options.GrpcInsecure = False,
    channel_insecure: options.ChannelInsecure = False,
    engine: Annotated[Engine, typer.Option("--engine", help="What the local agent runs pipelines with.")] = Engine.AUTO,
    approve: Annotated[
        Approval, typer.Option("--approve", help="Whether other agents wait for `headrace agent approve`.")
    ] = Approval.AUTO,
    demo: Annotated[bool, typer.Option("--demo/--no-demo", help="Apply the demo pipeline the first time.")] = True,
) -> None:
    """Run everything here, until Ctrl-C: a control plane, a local agent (role=local), and a demo pipeline."""
    folder = programs.data_dir(data_dir)
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise typer.BadParameter(
            f"cannot make the data folder {str(folder)!r}: {error.strerror}; give another one by --data-dir"
        ) from error
    doors = Doors(
        http=http,
        grpc=grpc,
        channel=channel,
        http_insecure=http_insecure,
        grpc_insecure=grpc_insecure,
        channel_insecure=channel_insecure,
    )
    serve = (
        *arguments(folder, state=state, metrics=metrics, sample_interval=sample_interval, doors=doors),
        *("--approve", approve.value),
        *_LOGS,
    )
    raise typer.Exit(asyncio.run(_Up(folder=folder, serve=serve, engine=engine, demo=demo).run()))


class _Interrupted(Exception):
    """SIGINT or SIGTERM came."""


class _Died(Exception):
    """A child ended that should not have."""


@dataclass(slots=True, kw_only=True)
class _Up:
    """One run: its folder, the children, and the two events that signals set."""

    folder: Path
    serve: Sequence[str]
    engine: Engine
    demo: bool
    children: list[Child] = field(default_factory=list)
    stop: asyncio.Event = field(default_factory=asyncio.Event)
    force: asyncio.Event = field(default_factory=asyncio.Event)

    async def run(self) -> int:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            loop.add_signal_handler(number, self._signalled)
        try:
            async with AsyncExitStack() as stack:
                try:
                    async with asyncio.timeout(START_TIMEOUT_S):
                        await self._start(stack)
                except TimeoutError:
                    raise _Died(f"not ready after {START_TIMEOUT_S:.0f} s; the logs are in {self.folder}") from None
                await self._unless_ended(asyncio.Event().wait())
        except _Interrupted:
            return Exit.DONE
        except _Died as death:
            say(f"error: {death}")
        except HeadraceError as error:
            complain(error)
        return Exit.REFUSED

    def _signalled(self) -> None:
        if self.stop.is_set():
            self.force.set()
        else:
            say("stopping; once more to force it")
            self.stop.set()

    async def _start(self, stack: AsyncExitStack) -> None:
        from headrace.cli import local_agent
        from headrace.management import ManagementClient

        plane = await self._child(stack, programs.CONTROL_PLANE, self.serve, grace=_PLANE_GRACE_S)
        bound = await self._unless_ended(self._ready(plane.pid))
        address = local_agent.reachable(bound["grpc"])
        async with ManagementClient(address, local_agent.management_token(address)) as client:
            began = datetime.now(UTC)
            is_first = self.demo and await self._unless_ended(local_agent.is_first_demo(client))
            if is_first:
                # Before the agent is there, so that it has the variable from the beginning.
                await self._unless_ended(local_agent.prepare_demo(client, self.folder / "demo"))
            token_file = self.folder / "agent.token"
            async with local_agent.token(client, token_file) as token_id:
                channel = local_agent.reachable(bound["channel"])
                await self._child(stack, programs.AGENT, self._agent(channel, token_file), grace=_AGENT_GRACE_S)
                agent = await self._unless_ended(local_agent.connected(client, since=began, token_id=token_id))
            if is_first:
                await self._unless_ended(local_agent.apply_demo(client))
            demo = self.demo and await self._unless_ended(local_agent.has_demo(client))
        show_lines(local_agent.ready_lines(self.folder, bound, agent, demo=demo))

    async def _child(
        self, stack: AsyncExitStack, program: programs.Program, arguments: Sequence[str], *, grace: float
    ) -> Child:
        from headrace.cli.child import Child

        log = self.folder / f"{program.name.replace(' ', '-')}.log"
        child = Child(program, arguments, log=log, tell=partial(_tell, program.name), force=self.force, grace=grace)
        await stack.enter_async_context(child)
        self.children.append(child)
        return child

    def _agent(self, channel: str, token_file: Path) -> list[str]:
        return [
            "run",
            *("--server", channel),
            *("--token-file", str(token_file)),
            *("--data-dir", str(self.folder / "agent")),
            *("--engine", self.engine.value),
            *_LOGS,
        ]

    async def _ready(self, pid: int) -> dict[str, str]:
        """What the control plane says of itself once it is ready; a file of an earlier run is not it."""
        path = self.folder / "ready.json"
        while True:
            try:
                bound = json.loads(path.read_text())
                if bound["pid"] == pid:
                    return dict(bound)
            except (OSError, ValueError, KeyError):
                pass
            await asyncio.sleep(0.05)

    async def _unless_ended(self, step: Awaitable[T]) -> T:
        """What the step answers, unless a signal or the end of a child comes first."""
        work = asyncio.ensure_future(step)
        stopped = asyncio.create_task(self.stop.wait(), name="signal")
        ends = {asyncio.create_task(child.ended(), name=f"end of the {child.name}"): child for child in self.children}
        try:
            await asyncio.wait({work, stopped, *ends}, return_when=asyncio.FIRST_COMPLETED)
            if stopped.done():
                raise _Interrupted
            for end, child in ends.items():
                if end.done():
                    words = "\n".join(f"  {_read(line)[1]}" for line in child.last_words)
                    raise _Died(f"the {child.name} stopped by itself (exit code {end.result()}); {child.log}:\n{words}")
            return work.result()
        finally:
            others = (work, stopped, *ends)
            for task in others:
                task.cancel()
            await asyncio.gather(*others, return_exceptions=True)


def _tell(name: str, line: str) -> None:
    """Pass on a problem that a child logs; all that it says is in its log, and the end of that in its last words."""
    level, text = _read(line)
    if level in {"warning", "error", "critical"}:
        say(f"{name}: {text}")


def _read(line: str) -> tuple[str, str]:
    """The level and the text of a log line, which is JSON unless something went very wrong."""
    try:
        entry = json.loads(line)
        level, text = str(entry.pop("level")), str(entry.pop("event"))
    except (ValueError, KeyError, TypeError, AttributeError):
        return "", line
    more = [f"{key}={value}" for key, value in entry.items() if key not in {"timestamp", "logger"}]
    return level, " ".join([f"{level}: {text}", *more])
