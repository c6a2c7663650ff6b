"""What every plugin must hold, whichever it is; a new one is taken in by itself."""

import asyncio
import os
from copy import deepcopy
from dataclasses import fields, is_dataclass
from typing import Any

import pytest

from agent.engine.config import options_of, read
from agent.engine.metrics import Histogram, Sample
from agent.engine.plugin import FilterSettings, InputSettings, OutputSettings, Result
from agent.engine.points import point, snapshot
from agent.engine.record import Batch
from agent.engine.registry import Registration, Registry, discover, filters, inputs, outputs, processors
from agent.engine.schema import schema
from headrace.config import Position, Property, Section
from tests.agent.engine.conftest import Emitted, PluginKit, Sink

NEEDED: dict[str, dict[str, Any]] = {
    "tail": {"path": "*.log", "db": "off.db"},
    "parser": {"key_name": "log", "parser": "kv", "parsers": "- {name: kv, format: logfmt}"},
    "file": {"file": "out"},
    "nest": {"operation": "nest", "nest_under": "x", "wildcard": "*"},
    "rewrite_tag": {"rule": "$a ^x$ new false"},
    "http": {"port": 9},
    "splunk": {"port": 9, "splunk_token": "x"},
    "loki": {"port": 9},
    "es": {"port": 9},
    "influxdb": {"port": 9},
    "tcp": {"port": 9},
    "forward": {"port": 9},
    "vivo_exporter": {"host": "127.0.0.1", "port": 0},
    "opensearch": {"port": 9},
    "prometheus_remote_write": {"port": 9},
    "output opentelemetry": {"port": 9},
    "input opentelemetry": {"listen": "127.0.0.1", "port": 0},
    "prometheus_exporter": {"host": "127.0.0.1", "port": 0},
    "log_to_metrics": {"tag": "m", "metric_description": "Help.", "label_field": "a"},
    "lua": {"call": "f", "code": "function f(tag, time, record) return 0, time, record end"},
    "type_converter": {"str_key": "a b int"},
    "exec": {"command": "echo x"},
    "netif": {"interface": "lo"},
    "kubernetes": {"kube_url": "http://127.0.0.1:9"},
    "kubernetes_events": {"kube_url": "http://127.0.0.1:9"},
    "multiline": {"multiline.parser": "java"},
    "checklist": {"file": __file__, "record": "found true"},
    "sampling": {"type": "tail"},
    "metrics_selector": {"metric_name": "a"},
    "content_modifier": {"action": "upsert", "key": "a", "value": "b"},
    "input tcp": {"port": 0},
    "udp": {"port": 0},
    "input forward": {"port": 0},
    "input http": {"port": 0},
    "syslog": {"mode": "tcp", "port": 0, "parser": "all", "parsers": "- {name: all, format: regex, regex: '(?<a>.*)'}"},
}
"""Properties without which a plugin does not start, or that a test needs; by name, or by kind and name."""

SPAN: dict[str, Any] = {
    **dict.fromkeys(("trace_id", "span_id", "name"), "0" * 16),
    **dict.fromkeys(("parent_span_id", "trace_state", "schema_url")),
    **dict.fromkeys(("kind", "start_time_unix_nano", "end_time_unix_nano"), 1),
    **dict.fromkeys(("dropped_attributes_count", "dropped_events_count", "dropped_links_count"), 0),
    "attributes": {},
    "events": [],
    "links": [],
    "status": {"code": 0, "message": None},
}

REGISTRIES: list[Registry[Any]] = [inputs, filters, outputs, processors]
SETTINGS = {"input": InputSettings, "filter": FilterSettings, "output": OutputSettings}

discover()
EVERY = [
    pytest.param(registry, plugin, id=f"{registry.kind} {plugin.name}")
    for registry in REGISTRIES
    for plugin in registry
]


@pytest.fixture(autouse=True)
def _folder(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder of the test's own, with a journalctl that has nothing to say, so that the machine needs none."""
    monkeypatch.chdir(tmp_path)
    script = tmp_path / "journalctl"
    script.write_text("#!/bin/sh\nexec sleep 600\n")
    script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")


def make(plugins: PluginKit, registry: Registry[Any], name: str) -> Any:
    needed = {
        key.replace(".", "__"): value
        for key, value in (NEEDED.get(f"{registry.kind} {name}") or NEEDED.get(name, {})).items()
    }
    return plugins.make(registry, name, **needed)


def metrics() -> Batch:
    samples: list[Sample] = [("a", "gauge", "A.", {"b": "é"}, 1.5), ("h", "histogram", "H.", {}, Histogram((1.0,)))]
    return snapshot("tag", 1, [point(sample, "test.0") for sample in samples])


@pytest.mark.parametrize(("registry", "plugin"), EVERY)
def test_a_plugin_describes_itself_and_each_property(registry: Registry[Any], plugin: Registration[Any]) -> None:
    assert plugin.description.endswith(".")
    assert is_dataclass(plugin.config)
    for _, spec in options_of(plugin.config):
        assert spec.help
        assert spec.help[0].islower() or not spec.help[0].isalpha() or spec.help.startswith(("JSON", "SQLite", "TLS"))
    names = [name for _, spec in options_of(plugin.config) for name in spec.names]
    own = SETTINGS.get(registry.kind)
    reserved = {name for _, spec in options_of(own) for name in spec.names} if own else set()
    assert len(names) == len(set(names))
    assert not reserved & set(names), "a property of the kind is not one of the plugin"
    assert not plugin.refused & set(names), "a property is taken or refused, not both"
    assert all(spec.metadata.keys() & {"option", "included"} for spec in fields(plugin.config))


@pytest.mark.parametrize(("registry", "plugin"), EVERY)
def test_an_unknown_property_is_refused_with_the_nearest_one(
    registry: Registry[Any], plugin: Registration[Any]
) -> None:
    names = [name for _, spec in options_of(plugin.config) for name in spec.names]
    near = max(names, key=len, default="nothing") + "x"
    here = Position("p.yaml", 1, 1)
    section = Section(
        kind=registry.kind, position=here, properties=(Property("name", plugin.name, here), Property(near, "1", here))
    )  # type: ignore[arg-type]  # kinds are registry names
    found = [str(fault) for fault in read(section, plugin.config, refused=plugin.refused)[1] if near in str(fault)]
    assert len(found) == 1
    assert (
        f"{registry.kind} {plugin.name!r}: unknown property {near!r}; "
        + ("did you mean '" if names else "known are none")
        in found[0]
    )


@pytest.mark.parametrize(("registry", "plugin"), EVERY)
def test_a_refused_property_is_named_as_not_implemented(registry: Registry[Any], plugin: Registration[Any]) -> None:
    here = Position("p.yaml", 1, 1)
    for name in plugin.refused:
        section = Section(
            kind=registry.kind,
            position=here,
            properties=(Property("name", plugin.name, here), Property(name, "1", here)),
        )  # type: ignore[arg-type]  # as above
        messages = [str(fault) for fault in read(section, plugin.config, refused=plugin.refused)[1]]
        assert any(f"{name!r} is known to Fluent Bit but not implemented" in message for message in messages)


@pytest.mark.parametrize(("registry", "plugin"), EVERY)
async def test_an_instance_that_was_never_opened_or_opened_twice_over_closes_cleanly(
    registry: Registry[Any], plugin: Registration[Any], plugins: PluginKit
) -> None:
    await make(plugins, registry, plugin.name).close()
    again = make(plugins, registry, plugin.name)
    await again.open()
    await again.close()
    assert len(plugins.resources) == 0


@pytest.mark.parametrize("plugin", [p for p in inputs if p.name != "stdin"], ids=lambda plugin: plugin.name)
async def test_an_input_ends_when_it_is_cancelled_and_leaves_nothing(
    plugin: Registration[Any], plugins: PluginKit, sink: Sink
) -> None:
    instance = make(plugins, inputs, plugin.name)
    await instance.open()
    task = asyncio.create_task(instance.run(sink), name="input under test")
    for _ in range(5):
        await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()
    await instance.close()
    assert len(plugins.resources) == 0


@pytest.mark.parametrize("plugin", [*filters, *processors], ids=lambda plugin: plugin.name)
async def test_a_filter_keeps_the_lists_of_a_batch_in_step(plugin: Registration[Any], plugins: PluginKit) -> None:
    registry = filters if plugin.name in filters else processors
    instance = make(plugins, registry, plugin.name)
    await instance.open()
    records = [{"a": "x", "log": "k=v"}, {}, {"a": None, "b": {"c": [1]}}, {"a": "x" * 1000}]
    emitted = Emitted()
    batch = Batch("tag", [1, 2, 3, 4], records, [{}, {"m": 1}, {}, {}], 100)
    if "logs" not in plugin.signals:
        batch = metrics() if "metrics" in plugin.signals else Batch("tag", [1], [SPAN], None, 10, "traces")
    for result in [instance.process(batch, emitted), *emitted]:
        assert len(result.times) == len(result.records) == len(result.metadata or result.records)
        assert all(isinstance(record, dict) for record in result.records)
    empty = instance.process(Batch("tag", signal=batch.signal), emitted)
    assert len(empty) == 0
    await instance.close()
    assert emitted.held == 0


@pytest.mark.parametrize("plugin", list(outputs), ids=lambda plugin: plugin.name)
async def test_an_output_does_not_change_what_it_is_given(
    plugin: Registration[Any], plugins: PluginKit, capfd: pytest.CaptureFixture[str]
) -> None:
    instance = make(plugins, outputs, plugin.name)
    await instance.open()
    logs = Batch("tag", [1, 2], [{"a": "é", "n": [1, {"b": None}]}, {}], [{"m": 1}, {}], 10)
    traces = Batch("tag", [1], [{**SPAN, "attributes": {"a": "é"}}], [{"scope": {"name": "s"}}], 10, "traces")
    for batch in (logs, metrics(), traces):
        if batch.signal in plugin.signals:
            expected = deepcopy(batch)
            assert await instance.write(batch) in (Result.OK, Result.RETRY)
            assert batch == expected
    await instance.close()


def test_the_schema_lists_every_plugin_with_every_property() -> None:
    shown = schema()
    for kind, registry in {"inputs": inputs, "filters": filters, "outputs": outputs, "processors": processors}.items():
        assert [plugin["name"] for plugin in shown[kind]] == [plugin.name for plugin in registry]
    for plugin in shown["inputs"]:
        assert all(
            set(option) == {"name", "description", "default", "type"} for option in plugin["properties"]["options"]
        )
