"""One process of an engine, the real Fluent Bit or the embedded one, which have the same monitoring API.

Fluent Bit's reload cannot be believed: it says `done` before it has read anything, swallows requests, hangs while an
output is down, and exits when the new configuration fails to start. So a reload counts when the process's own counter
has risen and, where the engine tells, the digest of what it runs is the one that was asked for; everything else ends in
a new process, within a deadline. Polls the monitoring API while a start or reload is under way, since nothing tells.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from agent.errors import ConfigurationFault, EnvironmentFault
from agent.model import Child
from agent.restart import Exit
from agent.runtimes import child_log
from agent.runtimes.base import Deadlines, EngineLostError, Launch, Report
from agent.runtimes.log_lines import BUSY, HALTED, faults_in, is_environment, last_line
from agent.runtimes.monitor import Monitor, MonitorError
from agent.runtimes.process import Process
from headrace.types import Fault

_FIRST_POLL_S, _LONGEST_POLL_S = 0.02, 0.25
_GIVEN_UP = ("errors", "retries_failed", "dropped_records")


class FluentBitInstance:
    """A process that was started or adopted."""

    def __init__(self, process: Process, launch: Launch, deadlines: Deadlines) -> None:
        self._process = process
        self._launch = launch
        self._deadlines = deadlines
        self._monitor = Monitor(launch.port, timeout=deadlines.answer)

    @property
    def child(self) -> Child:
        return Child(
            pid=self._process.pid,
            start_time=self._process.start_time,
            port=self._launch.port,
            config=self._launch.config.name,
            grace=self._launch.grace,
        )

    @property
    def alive(self) -> bool:
        return self._process.alive

    def on_end(self, callback: Callable[[], None]) -> None:
        self._process.on_end(callback)

    def ending(self, now: float) -> Exit:
        return Exit(now, self._process.status)

    async def until_ready(self, offset: int) -> None:
        """Until the monitoring API answers: Fluent Bit serves it once every plugin has been initialised."""

        async def answers() -> bool:
            try:
                await self._monitor.get("/api/v1/uptime")
            except MonitorError:
                return False
            return True

        if await self._poll(answers, self._deadlines.start):
            return
        if self.alive:
            seconds = f"{self._deadlines.start:g} s"
            message = f"the engine did not answer on port {self._launch.port} within {seconds}"
            raise EnvironmentFault(Fault(message=message))
        raise self._why_it_ended(offset)

    async def reload(self, launch: Launch) -> None:
        offset = asked = child_log.size(launch.log)
        refusal = ""
        try:
            before = await self._monitor.reload_state()
        except MonitorError as error:
            raise EngineLostError(f"the engine does not take a reload: {error}") from error
        answer = await self._ask_for_reload()

        async def is_over() -> bool:
            nonlocal answer, asked, refusal
            news = child_log.since(launch.log, asked)
            refusal = str(answer.get("error") or next((phrase for phrase in HALTED if phrase in news), ""))
            if not refusal and BUSY in news:
                # For a second after a reload that it refused, Fluent Bit says `done` and takes no other one.
                asked = child_log.size(launch.log)
                answer = await self._ask_for_reload()
            return bool(refusal) or await self._runs(launch, before)

        over = await self._poll(is_over, self._deadlines.reload)
        if refusal:
            faults = faults_in(child_log.since(launch.log, offset))
            raise ConfigurationFault(*(faults or (Fault(message=refusal),)))
        if not self.alive:
            raise EngineLostError(f"{self.ending(0)} during the reload")
        if not over:
            raise EngineLostError(f"the reload was not done within {self._deadlines.reload:g} s")
        self._launch = launch

    async def report(self) -> Report:
        try:
            is_well = await self._monitor.is_well()
            metrics = await self._monitor.metrics()
        except MonitorError as error:
            raise EngineLostError(f"the engine does not answer: {error}") from error
        outputs = metrics.get("output", {})
        given_up = {name: sum(int(each.get(key, 0)) for key in _GIVEN_UP) for name, each in outputs.items()}
        total = sum(given_up.values())
        names = ", ".join(name for name, count in given_up.items() if count)
        return Report(is_well=is_well, given_up=total, message=f"output {names} gave up records" if total else "")

    async def scrape(self) -> str:
        try:
            return await self._monitor.text("/api/v2/metrics/prometheus")
        except MonitorError as error:
            raise EngineLostError(f"the engine does not tell its metrics: {error}") from error

    async def stop(self) -> bool:
        return await self._process.stop(self._launch.grace + self._deadlines.stop)

    async def kill(self) -> None:
        """End it at once, whatever it has in hand."""
        self._process.kill()
        await asyncio.shield(self._process.wait())

    async def _ask_for_reload(self) -> dict[str, Any]:
        """The engine's answer. Raises EngineLostError when it says that it will not."""
        try:
            answer = await Monitor(self._launch.port, timeout=self._deadlines.reload).reload()
        except MonitorError as error:
            raise EngineLostError(f"the engine does not take a reload: {error}") from error
        if answer.get("status") != 0:
            raise EngineLostError(f"the engine does not take a reload: {answer.get('reload')}")
        return answer

    async def _runs(self, launch: Launch, before: Mapping[str, object]) -> bool:
        """Whether the reload has happened: the count rose, and what runs is what was asked for, where that is told."""
        try:
            state = await self._monitor.reload_state()
        except MonitorError:
            return False
        told = state.get("sha256")
        return _count(state) > _count(before) and (not told or told == launch.sha256)

    async def _poll(self, condition: Callable[[], Awaitable[bool]], deadline: float) -> bool:
        """Ask until it holds, the process ends (then False), or the deadline is over (then False)."""
        pause = _FIRST_POLL_S
        try:
            async with asyncio.timeout(deadline):
                while self.alive:
                    if await condition():
                        return True
                    try:
                        async with asyncio.timeout(pause):
                            await self._process.wait()
                    except TimeoutError:
                        pause = min(pause * 1.5, _LONGEST_POLL_S)
        except TimeoutError:
            pass
        return False

    def _why_it_ended(self, offset: int) -> ConfigurationFault | EnvironmentFault:
        log = child_log.since(self._launch.log, offset)
        ending = self.ending(0)
        faults = faults_in(log)
        if ending.was_sent or is_environment(faults):
            return EnvironmentFault(*(faults or (Fault(message=f"{ending} before it was ready"),)))
        return ConfigurationFault(*(faults or (Fault(message=f"{ending} before it was ready: {last_line(log)}"),)))


def _count(state: Mapping[str, object]) -> int:
    count = state.get("hot_reload_count", 0)
    return count if isinstance(count, int) else 0
