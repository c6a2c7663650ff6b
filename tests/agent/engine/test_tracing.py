"""Taps on inputs, over the monitoring API."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import pytest

from tests.agent.engine.conftest import EngineKit, RunningEngine
from tests.agent.engine.test_monitor import ask
from tests.processes import eventually

TEXT = """
    service: {flush: 0.05, http_server: on, http_listen: 127.0.0.1, http_port: 0, enable_chunk_trace: on}
    pipeline:
      inputs:
        - {name: dummy, alias: one, tag: t, rate: 100, dummy: '{"n":1}'}
        - {name: dummy, tag: t, rate: 100, dummy: '{"n":2}'}
      filters:
        - {name: modify, alias: mod, match: t, add: k v}
        - {name: grep, match: t, exclude: k none}
      outputs: [{name: 'null', match: t}, {name: file, match: t, file: out}]
"""


async def trace(running: RunningEngine, path: str, method: str = "POST", **body: Any) -> tuple[int, Any]:
    data = json.dumps(body).encode()
    head = f"{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {len(data)}\r\n\r\n"
    status, answer = await ask(running, path, raw=head.encode() + data)
    return status, json.loads(answer) if answer else None


def events(kit: EngineKit, name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in kit.lines(name)]


def to_file(name: str, **more: Any) -> dict[str, Any]:
    return {"output": "file", "params": {"file": name, "format": "plain"}, **more}


async def test_a_read_is_seen_at_every_step_and_the_limit_of_reads_holds(kit: EngineKit) -> None:
    async with kit.run(TEXT) as running:
        assert await trace(running, "/api/v1/trace/one", **to_file("tap", prefix="tap.", limit={"count": 3})) == (
            200,
            {"status": "ok"},
        )
        await eventually(lambda: [e["type"] for e in events(kit, "tap")].count(4) == 6)
    found = events(kit, "tap")
    assert Counter(e["trace_id"] for e in found) == {"tap.0": 5, "tap.1": 5, "tap.2": 5}
    first = {e["plugin_instance"]: e for e in found if e["trace_id"] == "tap.0" and e["type"] != 3}
    assert [e["type"] for e in first.values()] == [1, 2, 4, 4]
    assert set(first) == {"one", "mod", "null.0", "file.1"}
    assert first["one"]["plugin_alias"] == "one"
    assert [r["record"] for r in first["one"]["records"]] == [{"n": 1}]
    assert [r["record"] for r in first["mod"]["records"]] == [{"n": 1, "k": "v"}]
    assert first["null.0"]["return"] == 1
    assert all(e["start_time"] <= e["end_time"] for e in found)
    assert all(r["timestamp"] > 1_700_000_000 for e in found for r in e.get("records", ()))


async def test_several_traces_run_at_once_and_end_when_told_to(kit: EngineKit) -> None:
    async with kit.run(TEXT) as running:
        await trace(running, "/api/v1/trace/one", **to_file("a", prefix="a."))
        await trace(running, "/api/v1/trace/one", **to_file("b", prefix="b."))
        assert await trace(running, "/api/v1/traces/", inputs=["dummy.1", "gone"], **to_file("c")) == (
            200,
            {"inputs": {"dummy.1": {"status": "ok"}, "gone": {"status": "not found"}}},
        )
        for name, value in (("a", 1), ("b", 1), ("c", 2)):
            await eventually(lambda name=name: events(kit, name))
            assert {r["record"]["n"] for e in events(kit, name) for r in e.get("records", ())} == {value}
        assert await trace(running, "/api/v1/trace/one", "DELETE") == (201, {"status": "ok"})
        assert running.engine.pipeline.tracer.look("one", None) is None
        assert running.engine.pipeline.tracer.look("dummy.1", None) is not None
    assert {e["plugin_instance"] for e in events(kit, "a") if e["type"] == 1} == {"one"}


async def test_a_trace_ends_with_its_seconds_and_with_its_input(kit: EngineKit) -> None:
    async with kit.run(TEXT) as running:
        tracer = running.engine.pipeline.tracer
        await trace(running, "/api/v1/trace/one", **to_file("a", limit={"seconds": 1}))
        await eventually(lambda: tracer.look("one", None) is None)
        await trace(running, "/api/v1/trace/one", **to_file("b"))
        assert await running.reload(TEXT.replace("alias: one", "alias: two"))
        assert tracer.look("one", None) is None


@pytest.mark.parametrize(
    ("path", "body", "status", "message"),
    [
        ("/api/v1/trace/gone", {}, 404, None),
        (
            "/api/v1/trace/one",
            {"output": "fil"},
            400,
            "output 'fil' is not known to the embedded engine; did you mean 'file'",
        ),
        ("/api/v1/trace/one", {"output": "file", "params": {"fil": "x"}}, 400, "unknown property 'fil'"),
        ("/api/v1/trace/one", {"output": 5}, 400, "'output' is a text"),
        ("/api/v1/trace/one", {"params": {"a": 1}}, 400, "'params' is a map of texts"),
        ("/api/v1/trace/one", {"limit": {"count": 1, "seconds": 1}}, 400, "either 'count' or 'seconds'"),
        ("/api/v1/trace/one", {"limit": {"count": 0}}, 400, "whole number from 1 on"),
        ("/api/v1/traces", {"inputs": "one"}, 400, "'inputs' is a list"),
    ],
)
async def test_a_request_that_makes_no_sense_is_refused_and_the_engine_goes_on(
    kit: EngineKit, path: str, body: dict[str, Any], status: int, message: str | None
) -> None:
    async with kit.run(TEXT) as running:
        found, answer = await trace(running, path, **body)
        assert found == status
        assert message is None or message in answer["message"]
        count = len(kit.lines("out"))
        await kit.has_lines("out", count + 1)


async def test_bodies_that_are_no_json_and_methods_that_mean_nothing_are_refused(kit: EngineKit) -> None:
    async with kit.run(TEXT) as running:
        raw = b"POST /api/v1/trace/one HTTP/1.1\r\nConnection: close\r\nContent-Length: 1\r\n\r\n{"
        assert (await ask(running, "", raw=raw))[0] == 400
        assert (await trace(running, "/api/v1/trace/one", "PATCH"))[0] == 405
        assert (await trace(running, "/api/v1/traces/", "GET"))[0] == 405


async def test_without_leave_there_is_nothing_to_trace_with(kit: EngineKit) -> None:
    async with kit.run(TEXT.replace(", enable_chunk_trace: on", "")) as running:
        assert (await trace(running, "/api/v1/trace/one"))[0] == 404


async def test_a_trace_that_nobody_writes_down_is_bounded_and_delays_nothing(kit: EngineKit) -> None:
    async with kit.run(TEXT) as running:
        await trace(running, "/api/v1/trace/one", **to_file("a"))
        (on,) = running.engine.pipeline.tracer._on["one"].values()
        for number in range(5000):
            on.put({"n": number})
        assert 4000 <= on.dropped < 5000
        await kit.has_lines("out", 5)
