"""When an agent measures: while a control plane wants it, and from then on without one; and its own exporter."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from agent.counts import Counts
from agent.reporting.exporter import Exporter, ExporterError
from agent.reporting.reporter import Reporter
from headrace.testing import FakeAgent, FakeControlPlane


def reporter(folder: Path, *, interval: float | None = 0.05) -> Reporter:
    return Reporter(
        folder,
        interval=interval,
        spool_bytes=1 << 20,
        counts=Counts(sessions=3, applies=2),
        boot="b",
        now=lambda: datetime.now(UTC),
    )


@asynccontextmanager
async def running(reporter: Reporter) -> AsyncIterator[Reporter]:
    task = asyncio.create_task(reporter.run(), name="reporter")
    try:
        yield reporter
    finally:
        task.cancel()
        await asyncio.wait({task})


async def test_nothing_is_measured_until_a_plane_has_a_store(tmp_path: Path) -> None:
    async with running(reporter(tmp_path)) as measuring:
        measuring.welcome(False)
        assert measuring.pending() == ()
        assert measuring.sampling is None
    assert list(tmp_path.iterdir()) == []


def test_an_agent_imports_neither_the_management_api_nor_what_measures_before_it_measures() -> None:
    heavy = (
        "headrace.api",
        "headrace.v1.management_pb2",
        "agent.reporting.sampler",
        "agent.reporting.spool",
        "headrace.client.report",
        "prometheus_client",
    )
    program = f"import agent.app, sys; print([name for name in {heavy!r} if name in sys.modules])"
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert found.stdout.strip() == "[]"


async def test_an_interval_of_nothing_measures_nothing(tmp_path: Path) -> None:
    measuring = reporter(tmp_path, interval=0)
    measuring.welcome(True)
    await measuring.run()
    assert list(tmp_path.iterdir()) == []


async def test_the_control_plane_says_how_often_and_a_change_applies_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agent.reporting.reporter.SHORTEST_SAMPLE_S", 0.05)
    async with asyncio.timeout(20), running(reporter(tmp_path, interval=None)) as measuring:
        measuring.welcome(True, 3600.0)
        await measuring.arrived()
        measuring.acknowledge(1)
        measuring.welcome(True, 0.001)  # at once, not in an hour; and no more often than is allowed
        await measuring.arrived()
        measuring.acknowledge(2)
        await measuring.arrived()
    own = reporter(tmp_path / "own", interval=3600)
    async with running(own):
        own.welcome(True, 1.0)
        async with asyncio.timeout(20):
            await own.arrived()
        assert own.interval_s == 3600


async def test_it_goes_on_without_the_plane_and_after_a_restart(tmp_path: Path) -> None:
    async with asyncio.timeout(20):
        async with running(reporter(tmp_path)) as measuring:
            measuring.welcome(True)
            await measuring.arrived()
        first = measuring.pending()[-1].sequence
        async with running(reporter(tmp_path)) as measuring:
            await measuring.arrived()
            measuring.acknowledge(first)
            await measuring.arrived()
        assert measuring.pending()[0].sequence == first + 1
        measuring.refuse(first + 1)
        assert all(request.sequence > first + 1 for request in measuring.pending())


async def test_a_plane_without_a_store_ends_it_for_the_next_start_too(tmp_path: Path) -> None:
    async with asyncio.timeout(20):
        async with running(reporter(tmp_path)) as measuring:
            measuring.welcome(True)
            await measuring.arrived()
            measuring.welcome(False)
        async with running(reporter(tmp_path)) as measuring:
            assert measuring.sampling is None
            measuring.welcome(True)
            await measuring.arrived()


async def test_what_is_measured_reaches_the_plane_and_outlives_its_absence(tmp_path: Path) -> None:
    async with running(reporter(tmp_path)) as measuring:
        measuring.welcome(True)
        await measuring.arrived()
        before = datetime.now(UTC)
        async with FakeControlPlane(metrics=True) as plane, FakeAgent(plane.address, backlog=measuring):
            load = ("headrace_host_load1", ())
            numbers = await plane.until_numbers(lambda all: len(all.get(load, ())) >= 3)
    times = sorted(numbers[load])
    assert times[0] <= before < times[-1]
    assert numbers["headrace_agent_applies_total", (("kind", "ok"),)][times[0]] == 2


async def ask(exporter: Exporter, request: str) -> tuple[int, str]:
    host, _, port = exporter.address.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        writer.write(f"{request}\r\n\r\n".encode())
        answer = (await reader.read()).decode()
    finally:
        writer.close()
        await writer.wait_closed()
    head, _, body = answer.partition("\r\n\r\n")
    return (int(head.split()[1]) if head else 0), body


async def test_prometheus_gets_the_agents_own_figures(tmp_path: Path) -> None:
    measuring = reporter(tmp_path)
    async with Exporter("127.0.0.1:0", measuring.own_figures) as exporter:
        status, body = await ask(exporter, "GET /metrics HTTP/1.1")
        assert status == 200
        found = {
            (sample.name, tuple(sample.labels.items())): sample.value
            for family in text_string_to_metric_families(body)
            for sample in family.samples
        }
        assert found["headrace_agent_reconnects_total", ()] == 2
        assert found["headrace_agent_applies_total", (("kind", "ok"),)] == 2
        assert found["headrace_agent_memory_bytes", ()] > 1 << 20
        assert (await ask(exporter, "GET / HTTP/1.1"))[0] == 404
        assert (await ask(exporter, "POST /metrics HTTP/1.1"))[0] == 405
        assert (await ask(exporter, "nonsense"))[0] == 405
        with pytest.raises(ExporterError, match="cannot listen on"):
            async with Exporter(exporter.address, measuring.own_figures):
                pass


def test_a_port_alone_is_on_loopback(tmp_path: Path) -> None:
    assert Exporter("9464", reporter(tmp_path).own_figures).address == "127.0.0.1:9464"
