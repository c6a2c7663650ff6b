"""Measurements of metrics: what a fleet's samples cost on their way into InfluxDB, and what control notices of them."""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

from headrace import api
from tests.bench import machine
from tests.bench.channel import config
from tests.bench.fleet import Fleet, Push, fleet
from tests.bench.report import Measurement, median, quantile
from tests.bench.reporting import definitions
from tests.bench.scenario import Options
from tests.influxd import Influxd

_SERIES, _INTERVAL_S = 40, 10.0
_TARGET = 50_000.0
_PROPAGATION_S = {1_000: 0.15, 5_000: 0.9}
_NAMES = sorted({series.name for series in definitions(_SERIES)})


def metrics(options: Options) -> Iterator[Measurement]:
    """Every size of fleet, on an InfluxDB of its own."""
    for agents in options.agents:
        with tempfile.TemporaryDirectory(prefix="headrace-bench-") as folder:
            own = Path(folder) / "fleet"  # a program that ends takes along what runs in its folder
            own.mkdir()
            with Influxd.installed(Path(folder) / "influxd") as influxd:
                yield from asyncio.run(_measured(options, own, agents, influxd))


async def _measured(options: Options, folder: Path, agents: int, influxd: Influxd) -> list[Measurement]:
    store = f"influxdb://127.0.0.1:{influxd.port}/bench"
    async with fleet(folder, agents=agents, state=options.state, metrics=store) as made:
        await made.connect(concurrency=400)
        await made.push(config(0))
        await made.settle()
        steady = await _measure_steady(options, made, influxd)
        most = await _measure_most(options, made, influxd)
        return [*steady, *await _measure_reading(made), *most]


async def _measure_steady(options: Options, made: Fleet, influxd: Influxd) -> list[Measurement]:
    """Every agent reports as often as it does by default, and meanwhile pipelines change."""
    n, rounds = made.agents, 2 if options.quick else 6
    cpu, influx_cpu, began = machine.cpu_s(made.pid), machine.cpu_s(influxd.pid), time.monotonic()
    await made.report(series=_SERIES, interval=_INTERVAL_S, rounds=rounds)
    pushes: list[Push] = []
    for number in range(1, 2 if options.quick else 5):
        await asyncio.sleep(5.0)
        pushes.append(await made.push(config(number)))
    reported = await made.reported()
    seconds = reported.stored_at - began
    cpu, influx_cpu = machine.cpu_s(made.pid) - cpu, machine.cpu_s(influxd.pid) - influx_cpu
    expected, stored = n * rounds * _SERIES, _stored(influxd)
    return [
        Measurement(
            name="samples stored, every agent's 40 series every 10 s",
            agents=n,
            value=reported.samples / seconds,
            unit="samples/s",
            detail={
                "seconds": seconds,
                "answer_p50_s": quantile(reported.latencies, 0.5),
                "answer_p99_s": quantile(reported.latencies, 0.99),
                "turned_away": reported.turned_away,
                "broken": reported.broken,
                "why": reported.why,
                "control_plane_mib": made.memory_kib / 1024,
                "influxd_mib": machine.memory_kib(influxd.pid) / 1024,
            },
        ),
        Measurement(
            name="samples missing in InfluxDB afterwards", agents=n, value=expected - stored, unit="samples", target=0.0
        ),
        Measurement(
            name="server CPU per sample, with the changes meanwhile",
            agents=n,
            value=1e6 * cpu / max(1, reported.samples),
            unit="us",
            detail={"influxd_us": 1e6 * influx_cpu / max(1, reported.samples)},
        ),
        Measurement(
            name="commit of a change -> agents have it, p99, meanwhile",
            agents=n,
            value=median(quantile(push.arrivals, 0.99) for push in pushes),
            unit="s",
            target=_PROPAGATION_S.get(n),
            detail={
                "p50": median(quantile(push.arrivals, 0.5) for push in pushes),
                "worst_p99": max(quantile(push.arrivals, 0.99) for push in pushes),
                "missing": sum(push.missing for push in pushes),
                "rounds": len(pushes),
            },
        ),
    ]


async def _measure_reading(made: Fleet) -> list[Measurement]:
    """What people ask, over all that is there."""
    now = datetime.now(UTC)
    asked: dict[str, Callable[[], Awaitable[object]]] = {
        "figures of all pipelines": lambda: made.client.latest_metrics(
            api.LatestMetricsRequest(by=("pipeline",), window_seconds=600)
        ),
        "one metric of the fleet over time": lambda: made.client.query_metrics(
            api.QueryMetricsRequest(
                name=_NAMES[0], by=("pipeline",), start=now - timedelta(minutes=5), end=now, step_seconds=10
            )
        ),
    }
    results = []
    for what, ask in asked.items():
        times = []
        for _ in range(3):
            began = time.monotonic()
            await ask()
            times.append(time.monotonic() - began)
        results.append(Measurement(name=f"reading: {what}", agents=made.agents, value=median(times), unit="s"))
    return results


async def _measure_most(options: Options, made: Fleet, influxd: Influxd) -> list[Measurement]:
    """Every agent sends its next batch as soon as the last one is stored."""
    before = _stored(influxd)
    cpu, influx_cpu, began = machine.cpu_s(made.pid), machine.cpu_s(influxd.pid), time.monotonic()
    await made.report(series=_SERIES, interval=0.0, seconds=3.0 if options.quick else 20.0)
    reported = await made.reported()
    seconds = reported.stored_at - began
    cpu, influx_cpu = machine.cpu_s(made.pid) - cpu, machine.cpu_s(influxd.pid) - influx_cpu
    return [
        Measurement(
            name="samples stored, as many as go",
            agents=made.agents,
            value=reported.samples / seconds,
            unit="samples/s",
            target=_TARGET,
            at_least=True,
            detail={
                "server_cpu_us": 1e6 * cpu / max(1, reported.samples),
                "influxd_cpu_us": 1e6 * influx_cpu / max(1, reported.samples),
                "server_share_of_a_core": cpu / seconds,
                "influxd_share_of_a_core": influx_cpu / seconds,
                "turned_away": reported.turned_away,
                "broken": reported.broken,
                "why": reported.why,
                "missing": reported.samples - (_stored(influxd) - before),
            },
        )
    ]


def _stored(influxd: Influxd) -> int:
    """How many points InfluxDB has of the fleet's metrics."""
    names = ", ".join(f'"{name}"' for name in _NAMES)
    found = influxd.query(f'SELECT count("value") FROM {names}', database="bench")
    return sum(int(series["values"][0][1]) for series in found)
