"""Metrics kept and dropped as a real Fluent Bit 5.1.1 was seen to; and processors of metrics in a pipeline."""

from __future__ import annotations

from typing import Any

import pytest

from agent.engine.config import InvalidProperty
from agent.engine.registry import processors
from headrace.config import ConfigError
from tests.agent.engine.conftest import EngineKit, PluginKit
from tests.agent.engine.processors.test_labels import UNCHANGED, changed

A, A2, B, C, H = UNCHANGED


@pytest.mark.parametrize(
    ("properties", "kept"),
    [
        ({"metric_name": "a"}, [A, A2]),
        ({"metric_name": "A", "action": "INCLUDE"}, []),
        ({"metric_name": "/t/"}, [A, A2]),
        ({"metric_name": "/^[bc]$/", "action": "exclude"}, [A, A2, H]),
        ({"metric_name": "_t", "operation_type": "substring"}, [A, A2]),
        ({"metric_name": "_t", "operation_type": "SUBSTRING", "action": "exclude"}, [B, C, H]),
        ({"metric_name": "zzz"}, []),
        ({"metric_name": "zzz", "action": "exclude"}, UNCHANGED),
        ({"context": "delete_label_value", "label": "host h1"}, [A2, B, C, H]),
        ({"context": "delete_label_value", "label": "host x"}, [A, A2, B, C]),
        ({"context": "delete_label_value", "label": "gone x"}, UNCHANGED),
    ],
    ids=lambda value: " ".join(value.values()) if isinstance(value, dict) else "",
)
def test_metrics_are_kept_by_name_or_by_label(plugins: PluginKit, properties: dict[str, Any], kept: list[str]) -> None:
    assert changed(plugins, "metrics_selector", **properties) == kept


@pytest.mark.parametrize(
    ("properties", "why"),
    [
        ({"action": "include"}, "'metric_name': is needed"),
        ({"metric_name": "/(/"}, "'metric_name': not a regular expression"),
        ({"context": "delete_label_value"}, "'label': expected a label and its value"),
        ({"context": "delete_label_value", "label": "host"}, "'label': expected a label and its value"),
    ],
    ids=["no name", "bad expression", "no label", "no value"],
)
def test_what_says_nothing_to_select_is_refused(plugins: PluginKit, properties: dict[str, Any], why: str) -> None:
    with pytest.raises(InvalidProperty, match=why):
        plugins.make(processors, "metrics_selector", **properties)


async def test_processors_of_metrics_run_at_inputs_and_outputs_and_leave_logs_alone(kit: EngineKit) -> None:
    pipeline = """
        service: {flush: 0.05}
        pipeline:
          inputs:
            - name: fluentbit_metrics
              tag: m
              scrape_on_start: on
              scrape_interval: 1h
              processors:
                metrics: [{name: metrics_selector, metric_name: fluentbit_build_info}]
            - {name: dummy, tag: l, samples: 1, processors: {metrics: [{name: labels, insert: a b}]}}
          outputs:
            - name: file
              match: m
              file: metrics
              processors:
                metrics:
                  - {name: labels, delete: hostname, insert: site north}
                  - {name: labels, delete: [version, os]}
            - {name: file, match: l, file: logs, format: plain}
        """
    async with kit.run(pipeline):
        (line,) = await kit.has_lines("metrics", 1)
        assert await kit.has_lines("logs", 1) == ['{"message":"dummy"}']
    assert line.partition("Z ")[2].partition(" = ")[0] == 'fluentbit_build_info{site="north"}'


@pytest.mark.parametrize(
    ("name", "signal", "why"),
    [
        ("labels", "logs", "processor 'labels': it is for metrics, and cannot process logs"),
        ("grep", "metrics", "processor 'grep': it is for logs, and cannot process metrics"),
    ],
)
async def test_a_processor_of_another_signal_is_refused_by_name(
    kit: EngineKit, name: str, signal: str, why: str
) -> None:
    pipeline = f"""
        pipeline:
          inputs:
            - {{name: dummy, processors: {{{signal}: [{{name: {name}}}]}}}}
          outputs: [{{name: 'null', match: '*'}}]
        """
    with pytest.raises(ConfigError, match=why):
        async with kit.run(pipeline):
            pass
