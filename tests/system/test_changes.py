"""From `apply` to what runs: the three truths on the way, bursts, refusals, and changes that fail late."""

from __future__ import annotations

import asyncio
import json
import socket
import subprocess
import sys
from contextlib import aclosing
from itertools import groupby
from pathlib import Path

import pytest

from headrace import api
from headrace.management import ManagementClient
from headrace.types import AttemptState, Engine, Phase, Step
from tests.fluent_bit import FLUENT_BIT
from tests.processes import wait_until
from tests.system.plane import ENGINES, Plane, lines_of

pytestmark = [pytest.mark.system, pytest.mark.timeout(180)]

STAND_IN = Path(__file__).parents[1] / "agent/stand_in.py"
SETTLE = ("--settle", "0.5")


def counting(number: int, folder: Path) -> str:
    """A configuration whose records say which version made them, in a file of each agent's own."""
    return f"""
service:
  flush: 0.2
pipeline:
  inputs:
    - name: dummy
      dummy: '{{"n": {number}}}'
      interval_sec: 0
      interval_nsec: 50000000
  outputs:
    - name: file
      match: '*'
      path: {folder}
      file: ${{HEADRACE_AGENT}}.log
      format: template
      template: '{{n}}'
"""


def broken(config: str, folder: Path) -> str:
    """What only a start can find out: an input's offset database turns out to be a folder."""
    more = f"inputs:\n    - {{name: tail, path: {folder}/none.log, db: {folder}}}"
    return config.replace("inputs:", more)


@pytest.fixture
def out(tmp_path: Path) -> Path:
    folder = tmp_path / "out"
    folder.mkdir()
    return folder


@pytest.mark.parametrize("engine", ENGINES)
def test_the_three_truths_hold_from_the_apply_on(tmp_path: Path, out: Path, engine: str) -> None:
    with Plane(tmp_path / "plane") as plane:
        plane.agent("a-1", *SETTLE, engine=engine)
        plane.apply("count", counting(1, out), "--wait=good")
        snapshots = plane.ask(lambda client: while_changed(client, counting(2, out)))

        phases = [phase for phase, _ in groupby(workload.phase for workload in snapshots)]
        assert (phases[0], phases[-1]) == (Phase.GOOD, Phase.GOOD)
        way = [Phase.PENDING, Phase.APPLYING, Phase.RUNNING]  # a watcher may miss a step, and sees none twice
        assert phases[1:-1] == [phase for phase in way if phase in phases]
        for workload in snapshots:
            observed = workload.observed
            assert observed
            assert observed.attempt
            assert observed.running
            assert observed.good <= observed.running.generation <= observed.attempt.generation
            assert observed.attempt.generation == observed.desired <= workload.generation
            if workload.phase in (Phase.RUNNING, Phase.GOOD):
                assert observed.running.generation == workload.generation

        wait_until(lambda: lines_of(out / "a-1.log")[-1:] == ["2"], what="a record of the second version")
        described = plane.cli.json("describe", "pipeline", "count")
        (workload,) = described["workloads"]
        assert (workload["generation"], workload["desired"], workload["attempt"]["generation"]) == (2, 2, 2)
        assert (workload["running"]["generation"], workload["good"], workload["phase"]) == (2, 2, "good")
        assert workload["running"]["sha256"] == described["sha256"]
        assert workload["running"]["engine"] == engine


async def while_changed(client: ManagementClient, config: str) -> list[api.Workload]:
    """Every state of the one workload that a watcher sees, from before a change of `count` to its being good."""
    seen: list[api.Workload] = []
    async with asyncio.timeout(60), aclosing(client.watch_pipeline("count")) as watch:
        async for pipeline in watch:
            seen += pipeline.workloads
            if len(seen) == 1:
                changed = api.Manifest(name="count", selector="*", config=config)
                await client.apply_pipelines([changed])
            elif pipeline.generation == 2 and seen[-1].phase is Phase.GOOD:
                break
    return seen


@pytest.mark.parametrize("engine", ENGINES)
def test_a_burst_of_fifty_changes_ends_on_the_last_one(tmp_path: Path, out: Path, engine: str) -> None:
    with Plane(tmp_path / "plane") as plane:
        agents = [plane.agent(name, *SETTLE, engine=engine) for name in ("a-1", "a-2")]
        plane.apply("count", counting(0, out), "--wait")
        engines = [agent.engines("count") for agent in agents]

        async def burst(client: ManagementClient) -> int:
            for number in range(1, 51):
                manifest = api.Manifest(name="count", selector="*", config=counting(number, out))
                await client.apply_pipelines([manifest])
            return (await client.get_pipeline("count")).generation

        last = plane.ask(burst)
        assert last == 51
        for name, workload in plane.until("count", Phase.GOOD, agents=2, timeout=60).items():
            assert workload.observed
            assert workload.observed.running
            assert workload.observed.running.generation == workload.generation == last
            wait_until(lambda path=out / f"{name}.log": lines_of(path)[-1] == "50", what="a record of the last one")  # type: ignore[misc]  # mypy has no lambda defaults
            numbers = [int(line) for line in lines_of(out / f"{name}.log")]
            assert numbers == sorted(numbers), "an older version ran after a newer one"
        if engine == "embedded":
            assert [agent.engines("count") for agent in agents] == engines, "reloads need no new process"
        assert len(plane.cli.json("history", "count")) == 51


def test_what_fails_validation_is_refused_and_nothing_of_it_is_stored(tmp_path: Path, out: Path) -> None:
    with Plane(tmp_path / "plane") as plane:
        agent = plane.agent("a-1", *SETTLE)
        plane.apply("count", counting(1, out), "--wait=good")
        before, pids = plane.cli.json("describe", "pipeline", "count"), agent.engines("count")
        events = len(plane.events())

        syntax = plane.apply("count", counting(2, out).replace("inputs:", "inputs: ["), exits=1)
        assert "count.yaml (config of 'count'):6:" in syntax
        wrong = counting(2, out).replace("name: dummy", "name: dumy").replace("template:", "templat:")
        said = plane.apply("count", wrong, exits=1)
        assert "did you mean 'dummy'?" in said
        assert "did you mean 'template'?" in said
        plane.apply("another", wrong, exits=1)

        after = plane.cli.json("describe", "pipeline", "count")
        assert after | {"metrics": []} == before | {"metrics": []}  # what it has counted grows
        assert [each["name"] for each in plane.cli.json("get", "pipelines")] == ["count"]
        assert len(plane.events()) == events
        assert agent.engines("count") == pids


@pytest.mark.parametrize("engine", ENGINES)
def test_a_change_that_fails_at_start_leaves_the_last_good_running_everywhere(
    tmp_path: Path, out: Path, engine: str
) -> None:
    with Plane(tmp_path / "plane") as plane:
        for name in ("a-1", "a-2"):
            plane.agent(name, *SETTLE, engine=engine)
        plane.apply("count", counting(1, out), "--wait=good")

        said = plane.apply("count", broken(counting(2, out), out), "--wait", exits=1)
        assert "tail" in said
        assert "database" in said
        for workload in plane.until("count", Phase.FAILED, agents=2).values():
            assert workload.observed
            attempt, running = workload.observed.attempt, workload.observed.running
            assert attempt
            assert running
            assert (attempt.generation, attempt.state) == (2, AttemptState.FAILED)
            assert attempt.step in (Step.TRIAL, Step.APPLY)
            assert "tail" in {fault.plugin for fault in attempt.faults}
            assert (attempt.quarantined, attempt.retry_at) == (True, None)
            assert (running.generation, workload.observed.good, running.engine) == (1, 1, Engine(engine))
        described = plane.cli("describe", "pipeline", "count")
        assert "generation 2 failed at step" in described
        assert "not tried again by itself" in described
        assert "generation 1 runs on" in described
        failed = [event for event in plane.events(pipeline="count") if event.kind == "workload.failed"]
        assert len(failed) == 2
        assert all("tail" in event.message for event in failed)

        # It settles again, and other changes come and go: nobody tries the bad one again.
        tried = {name: workload.observed.attempt for name, workload in plane.workloads("count").items()}  # type: ignore[union-attr]  # checked above
        plane.apply("other", counting(7, out).replace("HEADRACE_AGENT}", "HEADRACE_AGENT}-other"), "--wait=good")
        assert {name: workload.observed.attempt for name, workload in plane.workloads("count").items()} == tried  # type: ignore[union-attr]  # as before
        for name in ("a-1", "a-2"):
            so_far = len(lines_of(out / f"{name}.log"))
            wait_until(lambda n=so_far, path=out / f"{name}.log": len(lines_of(path)) > n, what="records go on")  # type: ignore[misc]  # mypy has no lambda defaults
            assert set(lines_of(out / f"{name}.log")) == {"1"}

        plane.apply("count", counting(3, out), "--wait=good")
        kinds = [event.kind for event in plane.events(pipeline="count")]
        assert kinds.count("workload.recovered") == 2
        assert kinds.count("workload.failed") == 2


def test_a_port_that_somebody_else_holds_is_taken_when_it_is_free_again(tmp_path: Path, out: Path) -> None:
    with Plane(tmp_path / "plane") as plane, socket.create_server(("127.0.0.1", 0)) as somebody:
        port = somebody.getsockname()[1]
        plane.agent("a-1", *SETTLE, "--fluent-bit", str(fluent_bit(tmp_path)), engine="fluent-bit")
        plane.apply("count", counting(1, out), "--wait=good")
        listening = f"inputs:\n    - {{name: tcp, listen: 127.0.0.1, port: {port}}}"
        plane.apply("count", counting(2, out).replace("inputs:", listening))

        observed = plane.until("count", Phase.FAILED)["a-1"].observed
        assert observed
        assert observed.attempt
        assert observed.running
        (fault,) = observed.attempt.faults
        assert (fault.plugin, fault.property) == ("tcp", "port")
        assert str(port) in fault.message
        assert not observed.attempt.quarantined
        assert observed.attempt.retry_at
        assert observed.running.generation == 1

        somebody.close()
        plane.until("count", Phase.GOOD)
        assert [event.kind for event in plane.events(pipeline="count")][1:] == [
            "pipeline.applied",
            "workload.failed",
            "workload.recovered",
        ]


def fluent_bit(folder: Path) -> Path:
    """The real one where there is one; else a stand-in that says it can listen, and leaves it at that."""
    if FLUENT_BIT:
        return Path(FLUENT_BIT)
    told = subprocess.run([sys.executable, "-m", "agent.engine", "-J"], capture_output=True, check=True).stdout
    catalogue = json.loads(told)
    (dummy,) = (plugin for plugin in catalogue["inputs"] if plugin["name"] == "dummy")
    listen = [{**dummy["properties"]["options"][0], "name": name} for name in ("listen", "port")]
    catalogue["inputs"].append({**dummy, "name": "tcp", "properties": {**dummy["properties"], "options": listen}})
    (folder / "catalogue.json").write_text(json.dumps(catalogue))
    program = folder / "fluent-bit"
    stand_in = f"exec {sys.executable} {STAND_IN} "
    program.write_text(f'#!/bin/sh\n[ "$1" = -J ] && exec cat {folder}/catalogue.json\n{stand_in}"$@"\n')
    program.chmod(0o755)
    return program
