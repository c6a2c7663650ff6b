"""Traces that are kept, as a real Fluent Bit 5.1.1 was seen to keep them; how long they wait, and what is then safe."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from agent.engine.config import InvalidProperty
from agent.engine.record import Batch, Record
from agent.engine.registry import processors
from agent.engine.span_conditions import span_conditions
from headrace.config import ConfigError
from tests.agent.engine.conftest import Emitted, EngineKit, PluginKit
from tests.agent.engine.inputs.test_opentelemetry import trace_by_sdk
from tests.agent.engine.outputs.test_vivo_exporter import get
from tests.agent.engine.test_contract import SPAN
from tests.processes import eventually
from tests.servers import free_port

RESOURCE = {"resource": {"attributes": {"r": "res"}}}


def span(
    trace: str, name: str, *, took: int = 5_000_000, code: int = 0, state: str | None = None, **more: Any
) -> Record:
    own = {"trace_id": trace * 16, "name": name, "trace_state": state, "attributes": more, "status": {"code": code}}
    return {**SPAN, **own, "start_time_unix_nano": 10**18, "end_time_unix_nano": 10**18 + took}


SPANS = [
    span("0a", "fast"),
    span("0b", "slow", took=900_000_000),
    span("0b", "slow2"),
    span("0c", "err", code=2),
    span("0d", "ok", code=1),
    span("0e", "state", state="a=1,b=2"),
    span("0f", "str", s="hello"),
    span("1a", "num", n=5),
    span("1b", "dbl", n=5.5),
    span("1c", "bool", b=True),
    span("1d", "boolf", b=False),
    span("1e", "three1"),
    span("1e", "three2"),
    span("1e", "three3"),
    span("1f", "neg", took=-5),
]
ALL = [one["name"] for one in SPANS]


def batch() -> Batch:
    return Batch("v1_traces", [1] * len(SPANS), list(SPANS), [RESOURCE] * len(SPANS), 1500, "traces")


def names(*batches: Batch) -> list[str]:
    return [one["name"] for part in batches for one in part.records]


@pytest.mark.parametrize(
    ("percentage", "kept"),
    [
        (0, []),
        (10, ["state", "dbl"]),
        (50, ["state", "str", "dbl", "bool", "boolf", "three1", "three2", "three3", "neg"]),
        (100, ALL),
    ],
)
def test_the_id_of_a_trace_decides_alone(plugins: PluginKit, percentage: int, kept: list[str]) -> None:
    settings = {"sampling_percentage": percentage}
    sampling = plugins.make(processors, "sampling", type="probabilistic", sampling_settings=settings)
    assert names(sampling.process(batch(), Emitted())) == kept


@pytest.mark.parametrize(
    ("condition", "kept"),
    [
        ({"type": "latency", "threshold_ms_high": 500}, ["slow", "slow2"]),
        ({"type": "latency", "threshold_ms_low": 4}, []),
        ({"type": "latency", "threshold_ms_low": 5}, ALL[:-1]),
        ({"type": "status_code", "status_codes": ("error",)}, ["err"]),
        ({"type": "status_code", "status_codes": ("OK", "UNSET")}, [name for name in ALL if name != "err"]),
        ({"type": "string_attribute", "key": "s", "values": ("hello",)}, ["str"]),
        ({"type": "string_attribute", "key": "s", "match_type": "exists"}, ["str"]),
        ({"type": "string_attribute", "key": "n", "match_type": "exists"}, []),
        ({"type": "string_attribute", "key": "s", "match_type": "regex", "values": ("^h.*o$",)}, ["str"]),
        ({"type": "string_attribute", "key": "r", "values": ("res",)}, ALL),
        ({"type": "numeric_attribute", "key": "n", "min_value": 5, "max_value": 6}, ["num", "dbl"]),
        ({"type": "numeric_attribute", "key": "n", "min_value": 5, "max_value": 5}, ["num"]),
        ({"type": "boolean_attribute", "key": "b", "value": True}, ["bool"]),
        ({"type": "boolean_attribute", "key": "b", "value": False}, ["boolf"]),
        ({"type": "span_count", "min_spans": 2, "max_spans": 3}, ["slow", "slow2", "three1", "three2", "three3"]),
        ({"type": "trace_state", "values": ("b=2",)}, ["state"]),
        ({"type": "trace_state", "values": ("a=1b",)}, []),
        (None, ALL),
    ],
    ids=lambda value: " ".join(map(str, value.values())) if isinstance(value, dict) else "",
)
async def test_a_trace_is_kept_whole_for_one_of_its_spans(
    plugins: PluginKit, condition: dict[str, Any] | None, kept: list[str]
) -> None:
    conditions = {"conditions": (condition,)} if condition else {}
    sampling, emitted = plugins.make(processors, "sampling", type="tail", **conditions), Emitted()
    assert sampling.process(batch(), emitted).records == []
    assert (emitted.held, list(emitted)) == (1, [])
    await sampling.close()
    assert sorted(names(*emitted)) == sorted(kept)
    assert emitted.held == 0
    assert all((part.tag, part.signal) == ("tag", "traces") for part in emitted), "the tag is the input's own"


async def test_the_oldest_trace_goes_for_one_too_many(plugins: PluginKit) -> None:
    sampling = plugins.make(processors, "sampling", type="tail", sampling_settings={"max_traces": 2})
    emitted = Emitted()
    for one in SPANS:
        sampling.process(Batch("t", [1], [one], None, 100, "traces"), emitted)
    assert emitted.held == 4, "those of dropped traces are let go"
    await sampling.close()
    assert names(*emitted) == ["three1", "three2", "three3", "neg"]
    assert emitted.held == 0


@pytest.mark.parametrize(
    ("conditions", "why"),
    [
        ("x", "a list of conditions"),
        ((), "a list of conditions"),
        (("x",), "a map with a 'type'"),
        (({"type": "latencies"},), "did you mean 'latency'"),
        (({"type": "latency"},), "needs 'threshold_ms_low' or"),
        (({"type": "latency", "threshold_ms_high": -1},), "above 0"),
        (({"type": "latency", "threshold_ms_high": "5"},), "a whole number"),
        (({"type": "latency", "threshold": 5},), "has no 'threshold'"),
        (({"type": "status_code", "status_codes": "OK"},), "a list of texts"),
        (({"type": "status_code", "status_codes": ("BAD",)},), "none of UNSET, OK, ERROR"),
        (({"type": "string_attribute", "values": ("a",)},), "needs the 'key'"),
        (({"type": "string_attribute", "key": "k"},), "a list of texts"),
        (({"type": "string_attribute", "key": "k", "match_type": "regex", "values": ("(",)},), "regular expression"),
        (({"type": "string_attribute", "key": "k", "match_type": "fuzzy"},), "none of strict, exists, regex"),
        (({"type": "numeric_attribute", "key": "k", "min_value": 1},), "'max_value', a whole number"),
        (({"type": "span_count", "min_spans": 3, "max_spans": 2},), "'min_spans' is above 'max_spans'"),
        (({"type": "boolean_attribute", "key": "k", "value": "true"},), "true or false"),
    ],
    ids=str,
)
def test_a_condition_that_cannot_hold_is_refused(conditions: Any, why: str) -> None:
    with pytest.raises(InvalidProperty, match=why):
        span_conditions(conditions)


@pytest.mark.parametrize(
    ("properties", "why"),
    [
        ({"type": "tail", "sampling_settings": 5}, "expected a map"),
        ({"type": "tail", "sampling_settings": {"decision": "1s"}}, "unknown property 'decision'"),
        ({"type": "tail", "sampling_settings": {"decision_wait": "0s"}}, "above 0"),
        ({"type": "probabilistic", "sampling_settings": {"sampling_percentage": "x"}}, "not a whole number"),
        ({"type": "probabilistic", "conditions": ({"type": "latency"},)}, "are for type tail"),
    ],
    ids=str,
)
def test_settings_of_another_type_are_refused(plugins: PluginKit, properties: dict[str, Any], why: str) -> None:
    with pytest.raises(InvalidProperty, match=why):
        plugins.make(processors, "sampling", **properties)


PIPELINE = """
    service: {{flush: 0.05}}
    pipeline:
      inputs:
        - name: opentelemetry
          listen: 127.0.0.1
          port: {port}
          tag: mine
          processors:
            traces:
              - name: sampling
                type: tail
                sampling_settings: {{decision_wait: {wait}}}
                conditions:
                  - {{type: status_code, status_codes: [ERROR]}}
                  - {{type: span_count, min_spans: 9, max_spans: 9}}
              - {{name: sampling, type: probabilistic, sampling_settings: {{sampling_percentage: 100}}}}
      outputs: [{{name: vivo_exporter, match: mine, host: 127.0.0.1, port: {page}}}]
    """


@pytest.mark.parametrize("wait", ["1s", "1h"])
async def test_traces_come_when_they_had_their_time_or_the_input_goes(kit: EngineKit, wait: str) -> None:
    port, page = free_port(), free_port()

    async def shown() -> str:
        return (await get(page, "/api/v1/traces"))[2]

    async with kit.run(PIPELINE.format(port=port, page=page, wait=wait)) as running:
        await asyncio.to_thread(trace_by_sdk, port, "op")
        (part,) = running.engine.pipeline.parts.inputs  # type: ignore[union-attr]  # it runs
        assert part.buffer is not None
        assert not part.buffer.is_idle.is_set(), "nobody has the spans yet, so the input is not done with them"
        if wait == "1h":
            assert await running.reload(PIPELINE.format(port=port, page=page, wait="2h"))
        text = await eventually(shown, what="the trace")
    assert (text.count('"name":"op"'), text.count('"name":"op inner"')) == (1, 1)


async def test_a_processor_of_an_output_cannot_keep_spans_back(kit: EngineKit) -> None:
    pipeline = """
        pipeline:
          inputs: [{name: dummy}]
          outputs: [{name: stdout, match: '*', processors: {traces: [{name: sampling, type: tail}]}}]
        """
    with pytest.raises(ConfigError, match="only a processor of an input"):
        async with kit.run(pipeline):
            pass
