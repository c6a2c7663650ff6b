"""When a workload's log is masked: while its engine runs, when the engine or the agent ends, and at a takeover."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from agent.model import Target
from agent.runtimes import child_log, log_masking
from agent.state import State
from headrace.content import canonical, sha256_of
from headrace.messages import Secret
from headrace.types import Engine, SecretReference
from tests.agent.conftest import MakeHost, content
from tests.agent.fakes import FakeRuntime
from tests.agent.test_workload import Bench, running
from tests.processes import eventually

VALUE = "kingfisher-41"


@pytest.fixture
async def runtime() -> FakeRuntime:
    return FakeRuntime()


def says(path: Path, text: str) -> None:
    with path.open("a") as file:
        file.write(text)


def want(bench: Bench, *secrets: SecretReference) -> None:
    data = canonical(replace(content("a"), secrets=secrets))
    bench.host.state.save_blob(sha256_of(data), data)
    bench.workload.want(Target(1, sha256_of(data)))


async def test_it_is_masked_while_the_engine_runs_and_at_every_end(
    make_host: MakeHost, runtime: FakeRuntime, state: State, monkeypatch: pytest.MonkeyPatch
) -> None:
    state.secrets.take((Secret(name="api", version=1, value=VALUE.encode()),))
    host = make_host({Engine.EMBEDDED: runtime}, log_bytes=1 << 20)
    monkeypatch.setattr(log_masking, "EVERY_S", 0.01)
    async with running(host, runtime) as bench:
        want(bench, SecretReference(name="api", env="TOKEN"))
        await bench.until_good(1)
        log = bench.workload.log_path
        says(log, f"while it runs: {VALUE}\n")
        await eventually(lambda: VALUE not in log.read_text())
        monkeypatch.setattr(log_masking, "EVERY_S", 3600.0)
        await bench.turns()
        says(log, f"at the agent's end: {VALUE}\n")
    assert VALUE not in log.read_text()
    says(log, f"while no agent lived: {VALUE}\n")
    async with running(host, runtime, state.records["p"]) as bench:
        await eventually(lambda: VALUE not in log.read_text())
        says(log, f"the last words: {VALUE}\n")
        runtime.only.end(1)
        assert VALUE not in log.read_text()
        await bench.until(lambda _: runtime.alive)
        says(log, f"at a stop: {VALUE}\n")
        await bench.stop()
        await bench.workload.shut_down()
    assert runtime.alive == []
    says(log, f"of an engine that ended without an agent: {VALUE}\n")
    async with running(host, runtime, state.records["p"]) as bench:
        await eventually(lambda: VALUE not in log.read_text())
    assert log.read_text().count("*" * len(VALUE)) == 6


async def test_a_pipeline_without_secrets_is_left_alone(
    make_host: MakeHost, runtime: FakeRuntime, state: State
) -> None:
    state.secrets.take((Secret(name="api", version=1, value=VALUE.encode()),))
    host = make_host({Engine.EMBEDDED: runtime})
    async with running(host, runtime) as bench:
        want(bench)
        await bench.until_good(1)
        log = bench.workload.log_path
        says(log, VALUE)
    assert log.read_text() == VALUE
    assert child_log.size(child_log.older(log)) == 0
