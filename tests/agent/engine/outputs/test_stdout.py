"""Records on standard output."""

import pytest

from agent.engine.record import Batch
from agent.engine.registry import outputs
from tests.agent.engine.conftest import PluginKit

BATCH = Batch("t", [1_000_000_000, 2_000_000_000], [{"a": "é"}, {"b": 1}], [{}, {"m": 1}])


@pytest.mark.parametrize(
    ("properties", "text"),
    [
        ({}, '[0] t: [[1.000000000, {}], {"a"=>"é"}]\n[1] t: [[2.000000000, {"m"=>1}], {"b"=>1}]\n'),
        (
            {"format": "json_lines", "json_date_format": "epoch"},
            '{"date":1,"a":"\\u00e9"}\n{"date":2,"__internal__":{"log_metadata":{"m":1}},"b":1}\n',
        ),
        (
            {"format": "json", "json_date_key": "false"},
            '[{"a":"\\u00e9"},{"__internal__":{"log_metadata":{"m":1}},"b":1}]\n',
        ),
        (
            {"format": "json_stream", "json_date_key": "ts", "json_date_format": "iso8601"},
            '{"ts":"1970-01-01T00:00:01.000000Z","a":"\\u00e9"}'
            '{"ts":"1970-01-01T00:00:02.000000Z","__internal__":{"log_metadata":{"m":1}},"b":1}\n',
        ),
    ],
)
async def test_each_format_is_printed_as_fluent_bit_does(
    plugins: PluginKit, capfd: pytest.CaptureFixture[str], properties: dict[str, object], text: str
) -> None:
    plugin = plugins.make(outputs, "stdout", **properties)
    await plugin.write(BATCH)
    assert capfd.readouterr().out == text
