"""The monitoring API, over a socket."""

import asyncio
import hashlib
import json
from typing import Any

import pytest

from tests.agent.engine.conftest import EngineKit, RunningEngine
from tests.processes import eventually

TEXT = """
    service:
      flush: 0.05
      http_server: on
      http_listen: 127.0.0.1
      http_port: 0
      hot_reload: on
      storage.metrics: on
    pipeline:
      inputs: [{name: dummy, alias: dum, samples: 3, rate: 1000}]
      filters: [{name: grep, match: '*', exclude: message none}]
      outputs: [{name: 'null', match: '*'}]
"""


async def ask(
    running: RunningEngine, path: str, method: str = "GET", headers: str = "", raw: bytes = b""
) -> tuple[int, bytes]:
    monitor = running.engine._monitor
    assert monitor is not None
    reader, writer = await asyncio.open_connection("127.0.0.1", monitor.port)
    try:
        writer.write(raw or f"{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{headers}\r\n".encode())
        async with asyncio.timeout(10):
            answer = await reader.read()
    finally:
        writer.close()
        await writer.wait_closed()
    head, _, body = answer.partition(b"\r\n\r\n")
    return int(head.split()[1]) if head else 0, body


async def get(running: RunningEngine, path: str) -> Any:
    status, body = await ask(running, path)
    assert status == 200
    return json.loads(body)


async def test_each_endpoint_answers_in_fluent_bits_shape(kit: EngineKit) -> None:
    async with kit.run(TEXT) as running:
        await eventually(lambda: running.metrics("output", "null.0").proc_records == 3)
        assert set((await get(running, "/"))["fluent-bit"]) == {"version", "edition", "flags"}
        assert set(await get(running, "/api/v1/uptime")) == {"uptime_sec", "uptime_hr"}
        assert await ask(running, "/api/v1/health") == (200, b"ok\n")
        assert await get(running, "/api/v2/health") == {
            "status": "ok",
            "errors": 0,
            "retries_failed": 0,
            "error_limit": 5,
            "retry_failure_limit": 5,
            "period_limit": 60,
        }
        metrics = await get(running, "/api/v1/metrics")
        assert metrics["input"]["dum"]["records"] == 3
        assert metrics["filter"]["grep.0"]["drop_records"] == 0
        assert metrics["output"]["null.0"]["proc_records"] == 3
        storage = await get(running, "/api/v1/storage")
        assert storage["storage_layer"]["chunks"]["total_chunks"] == 0
        assert storage["input_chunks"]["dum"]["status"]["overlimit"] is False
        assert "tail" in (await get(running, "/api/v1/plugins"))["plugins"]["inputs"]


async def test_prometheus_lines_have_fluent_bits_names(kit: EngineKit) -> None:
    async with kit.run(TEXT) as running:
        await eventually(lambda: running.metrics("output", "null.0").proc_records == 3)
        _, v1 = await ask(running, "/api/v1/metrics/prometheus")
        _, v2 = await ask(running, "/api/v2/metrics/prometheus")
    assert any(line.startswith(b'fluentbit_input_records_total{name="dum"} 3 1') for line in v1.splitlines())
    lines = v2.decode().splitlines()
    assert 'fluentbit_input_records_total{name="dum"} 3' in lines
    assert 'fluentbit_output_proc_records_total{name="null.0"} 3' in lines
    assert 'fluentbit_input_ingestion_paused{name="dum"} 0' in lines
    assert any(line.startswith("fluentbit_uptime{hostname=") for line in lines)
    names = [line.split()[2] for line in lines if line.startswith("# TYPE")]
    assert len(names) == len(set(names)), "one family each, as the format asks"


async def test_before_any_reload_the_api_tells_what_runs(kit: EngineKit) -> None:
    async with kit.run(TEXT) as running:
        digest = hashlib.sha256(running.config.read_bytes()).hexdigest()
        answer = await get(running, "/api/v2/reload")
    assert answer == {"hot_reload_count": 0, "result": "", "error": "", "sha256": digest}


async def test_reload_over_http_applies_or_refuses(kit: EngineKit) -> None:
    async with kit.run(TEXT) as running:
        text = running.config.read_text()
        running.config.write_text(text.replace("samples: 3", "samples: 4"))
        for method, expected in (("POST", 1), ("PUT", 2)):
            status, body = await ask(running, "/api/v2/reload", method, "Content-Length: 0\r\n")
            answer = json.loads(body)
            assert status == 200
            assert (answer["reload"], answer["status"], answer["result"], answer["error"]) == ("done", 0, "applied", "")
            assert answer["hot_reload_count"] == expected
            assert answer["sha256"] == hashlib.sha256(running.config.read_bytes()).hexdigest()
        good = answer["sha256"]
        running.config.write_text(text.replace("samples", "smaples"))
        _, body = await ask(running, "/api/v2/reload", "POST")
        answer = json.loads(body)
        assert answer["result"] == "refused"
        assert "unknown property 'smaples'; did you mean 'samples'?" in answer["error"]
        assert (answer["sha256"], answer["hot_reload_count"]) == (good, 2)
        assert (await get(running, "/api/v2/reload"))["error"] == answer["error"]


async def test_a_reload_that_is_not_enabled_says_so(kit: EngineKit) -> None:
    async with kit.run(TEXT.replace("hot_reload: on", "hot_reload: off")) as running:
        assert await ask(running, "/api/v2/reload", "POST") == (200, b'{"reload":"not enabled","status":-1}')


async def test_a_reload_while_one_is_under_way_is_refused(kit: EngineKit) -> None:
    async with kit.run(TEXT) as running:
        async with running.engine._changing:
            assert await ask(running, "/api/v2/reload", "POST") == (400, b'{"reload":"in progress","status":-2}')
        assert running.engine.reloads.count == 0


async def test_a_reload_may_move_the_api_to_another_port_and_away(kit: EngineKit) -> None:
    async with kit.run(TEXT) as running:
        text = running.config.read_text()
        first = running.engine._monitor
        assert await running.reload(text.replace("127.0.0.1", "localhost"))
        assert running.engine._monitor is not first
        assert (await get(running, "/api/v2/reload"))["hot_reload_count"] == 1
        assert await running.reload(text.replace("http_server: on", "http_server: off"))
        assert running.engine._monitor is None


async def test_an_unhealthy_engine_says_so(kit: EngineKit) -> None:
    text = TEXT.replace("hot_reload: on", "health_check: on\n      hc_errors_count: 0")
    async with kit.run(text) as running:
        assert await ask(running, "/api/v1/health") == (200, b"ok\n")
        running.metrics("output", "null.0").errors = 1
        assert await ask(running, "/api/v1/health") == (500, b"error\n")
        status, body = await ask(running, "/api/v2/health")
        assert (status, json.loads(body)["errors"]) == (500, 1)


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/nothing", 404),
        ("GET", "/api/v1/metrics/", 404),
        ("POST", "/api/v1/metrics", 405),
        ("DELETE", "/api/v2/reload", 405),
        ("HEAD", "/", 200),
        ("GET", "/api/v1/uptime?x=1", 200),
    ],
)
async def test_other_requests_have_their_status(kit: EngineKit, method: str, path: str, status: int) -> None:
    async with kit.run(TEXT) as running:
        assert (await ask(running, path, method))[0] == status


@pytest.mark.parametrize(
    "raw",
    [
        b"\r\n\r\n",
        b"nonsense\r\n\r\n",
        b"GET / HTTP/1.1\r\nContent-Length: many\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 200 + b"\r\n",
        b"GET /" + b"x" * 50_000 + b" HTTP/1.1\r\n\r\n",
        b"\xff\xfe\x00\r\n\r\n",
        b"POST /api/v2/reload HTTP/1.1\r\nContent-Length: 99999999\r\n\r\n",
        b"GET / HTTP/1.1\r\nContent-Length: -5\r\n\r\n",
    ],
)
async def test_what_is_no_request_does_no_harm(kit: EngineKit, raw: bytes, caplog: pytest.LogCaptureFixture) -> None:
    async with kit.run(TEXT) as running:
        status, _ = await ask(running, "", raw=raw)
        assert status in (0, 400, 413, 431)
        assert running.engine.reloads.count == 0
        assert (await get(running, "/api/v1/uptime"))["uptime_sec"] >= 0
    assert "Traceback" not in caplog.text


async def test_a_page_in_a_browser_is_kept_out(kit: EngineKit) -> None:
    async with kit.run(TEXT) as running:
        assert await ask(running, "/api/v2/reload", "POST", "Origin: http://elsewhere\r\n") == (403, b"")
        assert running.engine.reloads.count == 0


async def test_one_connection_may_ask_again(kit: EngineKit) -> None:
    async with kit.run(TEXT) as running:
        reader, writer = await asyncio.open_connection("127.0.0.1", running.engine._monitor.port)
        for _ in range(3):
            writer.write(b"GET /api/v1/health HTTP/1.1\r\nHost: x\r\n\r\n")
            async with asyncio.timeout(10):
                assert (await reader.readuntil(b"ok\n")).startswith(b"HTTP/1.1 200")
        writer.close()
        await writer.wait_closed()


async def test_what_was_delivered_is_shown_by_input_with_its_latency(kit: EngineKit) -> None:
    async with kit.run(TEXT) as running:
        await eventually(lambda: running.metrics("output", "null.0").proc_records == 3)
        _, body = await ask(running, "/api/v2/metrics/prometheus")
    lines = body.decode().splitlines()
    labels = 'input="dum",output="null.0"'
    assert f"fluentbit_routing_logs_records_total{{{labels}}} 3" in lines
    assert lines.count("# TYPE fluentbit_output_latency_seconds histogram") == 1
    start = lines.index("# TYPE fluentbit_output_latency_seconds histogram") + 1
    series = dict(line.rsplit(" ", 1) for line in lines[start : start + 11])
    buckets = [float(value) for name, value in series.items() if "_bucket" in name]
    assert len(buckets) == 9
    assert buckets == sorted(buckets)
    assert buckets[-1] == float(series[f"fluentbit_output_latency_seconds_count{{{labels}}}"]) > 0
    assert float(series[f"fluentbit_output_latency_seconds_sum{{{labels}}}"]) >= 0
