"""The whole agent as a program, against a control plane on the real channel, with the embedded engine."""

from __future__ import annotations

import asyncio
import os
import shlex
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from agent.runtimes.process import holders
from headrace.content import Content
from headrace.messages import Command
from headrace.security import ServerTls
from headrace.testing import FakeControlPlane, SeverableProxy
from headrace.types import AttemptState, CommandKind, Engine, File, Health, Observed, Step
from tests.agent.conftest import STAND_IN_COMMAND, content
from tests.processes import Program, eventually, processes_in

All = Mapping[str, Observed]


class Agents:
    """Starts agents on one data folder, and ends what they leave."""

    def __init__(self, folder: Path, plane: FakeControlPlane) -> None:
        self.folder = folder
        self.data = folder / "data"
        self.plane = plane
        self._programs: list[Program] = []

    def start(self, *flags: str | Path, server: str = "", token: str = "token") -> Program:
        command = [sys.executable, "-m", "agent", "run", "--data-dir", self.data]
        command += ["--server", server or self.plane.address, "--token", token, "--settle", "0.3", "--name", "node-1"]
        command += flags or ("--engine", "embedded")
        program = Program(command, folder=self.folder, name=f"agent-{len(self._programs)}")
        self._programs.append(program)
        return program

    @property
    def records(self) -> Path:
        """What the pipeline of these tests writes."""
        return self.data / "workloads" / "p" / "out.log"

    def engines(self) -> tuple[int, ...]:
        return holders(self.data / "workloads" / "p" / "engine.lock")

    async def until(self, condition: Callable[[All], object], *, timeout: float = 30.0) -> All:
        """What the only agent reports, once it meets the condition."""
        return await self.plane.until(lambda all: bool(condition(all)), timeout=timeout)

    async def until_good(self, generation: int) -> Observed:
        return (await self.until(lambda all: "p" in all and all["p"].good == generation))["p"]

    async def until_first(self) -> Observed:
        """Once the agent has enrolled and a first content is good."""
        generation = desire(self)
        await eventually(lambda: self.plane.agents, timeout=30)
        return await self.until_good(generation)

    async def until_failed(self, generation: int) -> Observed:
        observed = await self.until(
            lambda all: (
                "p" in all
                and (attempt := all["p"].attempt)
                and (attempt.generation, attempt.state) == (generation, AttemptState.FAILED)
            )
        )
        return observed["p"]

    def end(self) -> None:
        for program in self._programs:
            with program:
                pass


@pytest.fixture
async def agents(tmp_path: Path) -> AsyncIterator[Agents]:
    async with FakeControlPlane() as plane:
        agents = Agents(tmp_path, plane)
        try:
            yield agents
        finally:
            await asyncio.to_thread(agents.end)


def desire(agents: Agents, mark: str = "a", *, text: str = "") -> int:
    return agents.plane.desire("p", content(mark, text=text))


async def test_an_agent_whose_clock_is_wrong_reports_by_the_planes_time_and_says_so(tmp_path: Path) -> None:
    async with FakeControlPlane(metrics=True) as plane:
        agents = Agents(tmp_path, plane)
        plane.ahead = timedelta(minutes=-10)
        plane.sample_interval_ms = 1_000
        began = datetime.now(UTC) + plane.ahead
        try:
            agents.start()
            ahead = ("headrace_agent_clock_ahead_seconds", ())
            numbers = await plane.until_numbers(lambda all: len(all.get(ahead, ())) >= 2 if plane.agents else False)
            await eventually(lambda: [facts.clock_ahead_ms for facts in plane.agents.values()] == [600_000])
        finally:
            await asyncio.to_thread(agents.end)
    times = sorted(numbers[ahead])
    assert began <= times[0] < times[-1] <= datetime.now(UTC) + plane.ahead
    assert {numbers[ahead][at] for at in times} == {600}
    assert (agents.data / "clock.json").exists()


async def test_it_enrols_runs_changes_and_removes_a_pipeline(agents: Agents) -> None:
    program = agents.start("--engine", "embedded", "--label", "role=edge")
    await agents.until_first()
    (facts,) = agents.plane.agents.values()
    assert (facts.name, facts.labels) == ("node-1", {"role": "edge"})
    engines = agents.engines()
    assert len(engines) == 1
    await eventually(agents.records.exists)

    await agents.until_good(desire(agents, "b"))
    assert agents.engines() == engines

    agents.plane.remove("p")
    await agents.until(lambda all: "p" not in all or all["p"].running is None)
    await eventually(lambda: agents.engines() == ())
    assert program.stop() == 0


async def test_a_bad_change_leaves_the_last_good_running_and_says_why(agents: Agents) -> None:
    agents.start()
    await agents.until_first()
    engines = agents.engines()
    observed = await agents.until_failed(desire(agents, text=content().config.replace("name: dummy", "name: dumy")))
    assert observed.attempt is not None
    assert (observed.attempt.step, observed.attempt.quarantined) == (Step.VALIDATE, True)
    assert observed.attempt.faults[0].plugin == "dumy"
    assert "did you mean 'dummy'?" in str(observed.attempt.faults[0])
    assert observed.running is not None
    assert (observed.running.generation, observed.running.health) == (1, Health.HEALTHY)
    assert agents.engines() == engines


async def test_what_passes_and_fails_at_start_leaves_the_last_good_running(agents: Agents) -> None:
    agents.start()
    await agents.until_first()
    blocked = agents.folder / "not-a-folder"
    blocked.write_text("")
    tail = f"- name: tail\n      path: x.log\n      db: {blocked}/offsets.db\n"
    text = content("b").config.replace("  outputs:", f"    {tail}  outputs:")
    observed = await agents.until_failed(desire(agents, text=text))
    assert observed.attempt is not None
    assert (observed.attempt.step, observed.attempt.quarantined) == (Step.APPLY, True)
    assert observed.attempt.faults[0].plugin == "tail"
    observed = (await agents.until(lambda all: (running := all["p"].running) and running.health is Health.HEALTHY))["p"]
    assert observed.running is not None
    assert (observed.running.generation, observed.good) == (1, 1)
    assert len(agents.engines()) == 1


async def test_a_burst_of_fifty_changes_ends_on_the_last(agents: Agents) -> None:
    agents.start()
    await agents.until_first()
    for number in range(50):
        last = desire(agents, f"m{number}")
        await asyncio.sleep(0)
    observed = await agents.until_good(last)
    assert observed.running is not None
    assert observed.running.generation == last
    assert len(agents.engines()) == 1


async def test_a_killed_agents_engine_runs_on_and_is_taken_over(agents: Agents) -> None:
    program = agents.start()
    await agents.until_first()
    engines = agents.engines()
    program.kill()
    assert agents.engines() == engines
    agents.start()
    await agents.until_good(desire(agents, "b"))
    assert agents.engines() == engines
    assert len(processes_in(agents.data / "workloads")) == 1


async def test_an_agent_that_stops_takes_its_engines_along_and_brings_them_back(agents: Agents) -> None:
    program = agents.start()
    await agents.until_first()
    assert program.stop() == 0
    assert agents.engines() == ()
    agents.start()
    await eventually(agents.engines, timeout=30)
    await agents.until(lambda all: (running := all["p"].running) and running.health is Health.HEALTHY)


async def test_it_starts_and_runs_without_a_control_plane(agents: Agents) -> None:
    program = agents.start()
    await agents.until_first()
    program.stop()
    agents.records.unlink()
    with socket.create_server(("127.0.0.1", 0)) as closed:
        nobody = f"127.0.0.1:{closed.getsockname()[1]}"
    agents.start(server=nobody)
    await eventually(agents.records.exists, timeout=30)


async def test_a_severed_network_changes_nothing_and_the_fleet_converges(agents: Agents) -> None:
    async with SeverableProxy(agents.plane.address) as proxy:
        agents.start(server=proxy.address)
        await agents.until_first()
        proxy.sever()
        engines = agents.engines()
        generation = desire(agents, "b")
        await eventually(lambda: agents.engines() == engines)
        proxy.mend()
        await agents.until_good(generation)
        assert agents.engines() == engines


async def test_a_killed_engine_comes_back_without_anybody_asking(agents: Agents) -> None:
    agents.start()
    await agents.until_first()
    (pid,) = agents.engines()
    os.kill(pid, signal.SIGKILL)
    observed = (await agents.until(lambda all: (running := all["p"].running) and running.restarts == 1))["p"]
    assert observed.good == 1
    assert agents.engines() not in ((pid,), ())


async def test_a_second_agent_on_the_folder_is_told_off(agents: Agents) -> None:
    agents.start()
    await agents.until_first()
    second = agents.start()
    assert await asyncio.to_thread(second.wait) == 1
    assert "is in use by process" in second.output
    assert "Traceback" not in second.output


async def test_a_wrong_token_is_an_error_in_the_log_and_is_tried_again(agents: Agents) -> None:
    program = agents.start(token="wrong")
    await eventually(lambda: "enrolment failed" in program.output, timeout=30)
    assert program.is_running()
    assert agents.plane.agents == {}
    assert program.stop() == 0


async def test_commands_and_logs_come_back_over_the_channel(agents: Agents) -> None:
    agents.start()
    await agents.until_first()
    (pid,) = agents.engines()
    answer = await agents.plane.command(Command(id="1", kind=CommandKind.LOGS, pipeline="p", lines=5))
    assert answer.ok
    assert answer.output
    answer = await agents.plane.command(Command(id="2", kind=CommandKind.RESTART, pipeline="p"))
    assert answer.ok
    await eventually(lambda: agents.engines() not in ((pid,), ()), timeout=30)
    (facts,) = agents.plane.agents.values()
    catalogue = facts.engines[0].catalogue_sha256
    answer = await agents.plane.command(Command(id="3", kind=CommandKind.UPLOAD, sha256=catalogue))
    assert answer.ok
    assert agents.plane.blobs[catalogue].startswith(b"{")


@pytest.fixture
def certificate(tmp_path: Path) -> ServerTls:
    """A certificate of its own authority, in tls.crt and tls.key."""
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=test"
    files = ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", "tls.key", "-out", "tls.crt"]
    subprocess.run([*command.split(), *files], cwd=tmp_path, check=True, capture_output=True)
    return ServerTls(certificate=(tmp_path / "tls.crt").read_bytes(), key=(tmp_path / "tls.key").read_bytes())


async def test_it_speaks_tls_where_it_is_told_whom_to_trust(tmp_path: Path, certificate: ServerTls) -> None:
    async with FakeControlPlane(tls=certificate) as plane:
        agents = Agents(tmp_path, plane)
        try:
            agents.start("--engine", "embedded", "--tls-ca", tmp_path / "tls.crt")
            await agents.until_first()
        finally:
            await asyncio.to_thread(agents.end)


async def test_a_large_content_is_fetched_beside_the_stream(agents: Agents) -> None:
    agents.start()
    files = (File(name="big.bin", content=os.urandom(1 << 20)),)
    big = Content(engine=Engine.AUTO, config=content().config, files=files)
    await eventually(lambda: agents.plane.agents, timeout=30)
    await agents.until_good(agents.plane.desire("p", big))
    assert (agents.records.parent / "big.bin").stat().st_size == 1 << 20


async def test_a_port_that_is_taken_heals_when_it_is_free(agents: Agents) -> None:
    agents.start("--fluent-bit", stand_in_program(agents.folder))
    await agents.until_first()
    with socket.create_server(("127.0.0.1", 0)) as holder:
        port = holder.getsockname()[1]
        tcp = f"  - name: tcp\n      listen: 127.0.0.1\n      port: {port}\n  outputs:"
        generation = desire(agents, text=content("b").config.replace("outputs:", tcp))
        observed = await agents.until_failed(generation)
        assert observed.attempt is not None
        assert (observed.attempt.step, observed.attempt.quarantined) == (Step.TRIAL, False)
        assert observed.attempt.faults[0].plugin == "tcp"
    await agents.until_good(generation)


@pytest.mark.parametrize("fault", ["plugin", "start", "crash"])
async def test_a_real_engines_faults_are_survived(agents: Agents, fault: str) -> None:
    agents.start("--fluent-bit", stand_in_program(agents.folder))
    await agents.until_first()
    observed = await agents.until_failed(agents.plane.desire("p", content("b", fault)))
    assert observed.attempt is not None
    assert observed.attempt.quarantined
    await agents.until(lambda all: (running := all["p"].running) and running.health is Health.HEALTHY)
    await agents.until_good(desire(agents, "c"))
    assert len(agents.engines()) == 1


def stand_in_program(folder: Path) -> Path:
    """The stand-in as one executable file."""
    program = folder / "fluent-bit"
    program.write_text(f'#!/bin/sh\nexec {shlex.join(STAND_IN_COMMAND)} "$@"\n')
    program.chmod(0o755)
    return program
