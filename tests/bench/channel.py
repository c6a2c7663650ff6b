"""Measurements of the channel and the control plane behind it: one fleet at a time, in the order of an agent's life."""

from __future__ import annotations

import asyncio
import random
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tests.bench.certificates import Certificates
from tests.bench.fleet import Fleet, Push, fleet
from tests.bench.report import Measurement, median, quantile
from tests.bench.scenario import Options

_CONCURRENCY = 400
_CONFIG_BYTES = 5_000

# Seconds from commit to the last but 1 % of the agents, and of a fleet that comes back at once.
_PROPAGATION_S = {1_000: 0.15, 5_000: 0.9}
_STORM_S = {"plaintext": 5.0, "mTLS": 15.0}
_MEMORY_KIB = {"plaintext": 45.0, "mTLS": 110.0}


def channel(options: Options) -> Iterator[Measurement]:
    """Everything about a fleet, in plain text."""
    for agents in options.agents:
        yield from _measured(options, agents)


def mtls(options: Options) -> Iterator[Measurement]:
    """Memory and reconnection with client certificates."""
    with tempfile.TemporaryDirectory(prefix="headrace-bench-tls-") as folder:
        yield from _measured(options, max(options.agents), tls=Certificates.made(Path(folder)))


def _measured(options: Options, agents: int, *, tls: Certificates | None = None) -> list[Measurement]:
    async def measured() -> list[Measurement]:
        with tempfile.TemporaryDirectory(prefix="headrace-bench-") as folder:
            async with fleet(Path(folder), agents=agents, state=options.state, tls=tls) as made:
                return await _measure(options, made, tls=tls)

    return asyncio.run(measured())


async def _measure(options: Options, made: Fleet, *, tls: Certificates | None) -> list[Measurement]:
    kind, n = "mTLS" if tls else "plaintext", made.agents
    enrolled_kib = made.memory_kib
    connected = await made.connect(concurrency=_CONCURRENCY)
    grown_kib = (made.memory_kib - enrolled_kib) / n
    results = [
        Measurement(name=f"enrolling, 50 at a time, {kind}", agents=n, value=made.enrolling_s, unit="s"),
        Measurement(
            name=f"server memory per agent, Connect only, {kind}",
            agents=n,
            value=grown_kib,
            unit="KiB",
            target=_MEMORY_KIB[kind],
            detail={"control_plane_mib": made.memory_kib / 1024, "before_mib": enrolled_kib / 1024},
        ),
        Measurement(
            name=f"connecting, {_CONCURRENCY} at a time, {kind}",
            agents=n,
            value=connected.seconds,
            unit="s",
            detail={"lost": connected.lost, "why": connected.why, "server_cpu_us_per_agent": _us(connected.cpu_s / n)},
        ),
    ]
    if tls is None:
        results += await _measure_pushes(options, made)
        results.append(await _measure_heartbeats(options, made))
    return [*results, *await _measure_storm(options, made, kind=kind)]


async def _measure_pushes(options: Options, made: Fleet) -> list[Measurement]:
    n = made.agents
    await made.push(config(0))  # the first one adds rows, those that are measured change them
    await made.settle()
    pushes: list[Push] = []
    messages = await made.messages()
    for number in range(1, options.rounds + 1):
        pushes.append(await made.push(config(number)))
        await made.settle()
    messages = await made.messages() - messages
    p99 = median(quantile(push.arrivals, 0.99) for push in pushes)
    last = [push.arrivals[-1] for push in pushes]
    return [
        Measurement(
            name="commit of a change -> agents have it, p99",
            agents=n,
            value=p99,
            unit="s",
            target=_PROPAGATION_S.get(n),
            detail={
                "p50": median(quantile(push.arrivals, 0.5) for push in pushes),
                "last": median(last),
                "last_worst": max(last),
                "all_acknowledgements_stored": median(push.acknowledged_s for push in pushes),
                "from_call_to_commit": median(push.applying_s for push in pushes),
                "rounds": len(pushes),
                "missing": sum(push.missing for push in pushes),
                "messages_per_agent": messages / n / len(pushes),
            },
        ),
        Measurement(
            name="server CPU per pushed 5 KB config with its stored acknowledgement",
            agents=n,
            value=_us(median(push.cpu_s for push in pushes) / n),
            unit="us",
            target=150.0,
            detail={"lowest": _us(min(push.cpu_s for push in pushes) / n), "control_plane_mib": made.memory_kib / 1024},
        ),
    ]


async def _measure_heartbeats(options: Options, made: Fleet) -> Measurement:
    # 1,000 a second, as 20,000 agents send them: the two cores are neither idle nor full.
    seconds = 10.0
    rounds = max(1, round(1_000 * seconds / made.agents))
    samples = [await made.heartbeats(rounds=rounds, seconds=seconds) for _ in range(1 if options.quick else 3)]
    idle = await made.idle_cpu_s(seconds)
    return Measurement(
        name="server CPU per heartbeat",
        agents=made.agents,
        value=_us(median(samples)),
        unit="us",
        target=70.0,
        detail={"samples": [_us(sample) for sample in samples], "idle_share_of_a_core": idle / seconds},
    )


async def _measure_storm(options: Options, made: Fleet, *, kind: str) -> list[Measurement]:
    storms = []
    for _ in range(1 if options.quick else 3):
        await made.disconnect()
        storms.append(await made.connect(concurrency=2 * made.agents))
    typical = sorted(storms, key=lambda storm: storm.seconds)[len(storms) // 2]
    return [
        Measurement(
            name=f"all reconnect at once, {kind}",
            agents=made.agents,
            value=typical.seconds,
            unit="s",
            target=_STORM_S[kind] if made.agents == 5_000 else None,
            detail={
                "p50": quantile(typical.delays, 0.5),
                "every_storm": [storm.seconds for storm in storms],
                "server_cpu_us_per_agent": _us(typical.cpu_s / made.agents),
                "control_plane_mib": made.memory_kib / 1024,
            },
        ),
        Measurement(
            name=f"agents that did not come back, {kind}",
            agents=made.agents,
            value=float(sum(storm.lost for storm in storms)),
            unit="agents",
            target=0.0,
            detail={"why": [why for storm in storms for why in storm.why]},
        ),
        Measurement(
            name=f"a clean resume, messages both ways, {kind}",
            agents=made.agents,
            value=typical.message_bytes,
            unit="bytes",
            target=300.0,
            detail={"with_http2_framing_and_headers": typical.wire_bytes},
        ),
    ]


def config(number: int) -> str:
    """A valid configuration of 5 KB, different for each number, that does not compress to nothing."""
    rng = random.Random(number)
    head = "service:\n  flush: 1\npipeline:\n  inputs:\n    - name: dummy\n      tag: bench\n  filters:\n"
    tail = "  outputs:\n    - name: 'null'\n      match: '*'\n"
    filters: list[str] = []
    while len(head) + sum(map(len, filters)) + len(tail) < _CONFIG_BYTES:
        record = f"field_{len(filters)}_{rng.getrandbits(64):016x} value-{number}"
        filters.append(f"    - name: record_modifier\n      match: bench\n      record: {record}\n")
    return head + "".join(filters) + tail


def _us(seconds: float) -> float:
    return seconds * 1e6
