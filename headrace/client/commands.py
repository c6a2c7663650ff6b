"""Runs the commands that an agent is sent: beside everything else, a few at a time, each at most once."""

from __future__ import annotations

import asyncio
import collections
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime

import structlog

from headrace.errors import HeadraceError
from headrace.messages import Answer, Command

log = structlog.get_logger(__name__)

_AT_ONCE = 4
# Ids that are remembered, so that a command which is sent again over another session is not run again.
_REMEMBERED = 1_000


class Commands:
    """Outlives sessions: a command goes on when the one it came by ends, and its answer takes the next."""

    def __init__(
        self,
        run: Callable[[Command], Awaitable[Answer]],
        *,
        tasks: asyncio.TaskGroup,
        answered: Callable[[Answer], None],
    ) -> None:
        self._run = run
        self._tasks = tasks
        self._answered = answered
        self._turns = asyncio.Semaphore(_AT_ONCE)
        self._seen: collections.OrderedDict[str, None] = collections.OrderedDict()

    def submit(self, command: Command) -> None:
        """Starts it, unless it was started before."""
        if command.id in self._seen:
            return
        self._seen[command.id] = None
        if len(self._seen) > _REMEMBERED:
            self._seen.popitem(last=False)
        self._tasks.create_task(self._execute(command), name=f"command {command.kind} {command.id}")

    async def _execute(self, command: Command) -> None:
        left = None if command.deadline is None else (command.deadline - datetime.now(UTC)).total_seconds()
        try:
            async with asyncio.timeout(left), self._turns:
                if left is not None and left <= 0:
                    raise TimeoutError
                answer = await self._run(command)
        except TimeoutError:
            answer = Answer(command_id=command.id, ok=False, message=f"{command.kind}: not done before its deadline")
        except HeadraceError as error:
            answer = Answer(command_id=command.id, ok=False, message=error.message)
        except Exception as error:
            log.exception("a command failed by a defect", command=command.kind, pipeline=command.pipeline)
            answer = Answer(command_id=command.id, ok=False, message=f"{command.kind}: defect of the agent: {error!r}")
        self._answered(answer)
