"""Checks on records. Golden case `type_converter_expect` shows `result_key` on the real Fluent Bit."""

import pytest

from agent.engine.config import InvalidProperty
from agent.engine.registry import filters
from tests.agent.engine.conftest import EngineKit, PluginKit
from tests.agent.engine.test_command import run

RECORD = {"a": "text", "n": 5, "nul": None, "m": {"k": 1}}


@pytest.mark.parametrize(
    ("rule", "complaint"),
    [
        ({"key_exists": "$m['k']"}, None),
        ({"key_exists": "gone"}, "exception on rule #0 'key_exists', key 'gone' not found"),
        ({"key_not_exists": "gone"}, None),
        ({"key_not_exists": "a"}, "key 'a' exists"),
        ({"key_val_is_null": "nul"}, None),
        ({"key_val_is_null": "a"}, "key 'a' is not null"),
        ({"key_val_is_null": "gone"}, "key 'gone' not found"),
        ({"key_val_is_not_null": "a"}, None),
        ({"key_val_is_not_null": "nul"}, "key 'nul' is null"),
        ({"key_val_eq": "a text"}, None),
        ({"key_val_eq": "n 6"}, None),  # only texts are compared, as in Fluent Bit
        ({"key_val_eq": "a other"}, "key value 'text' is different than expected: 'other'"),
        ({"key_val_eq": "gone x"}, "key 'gone' not found"),
    ],
)
def test_a_record_that_is_not_as_expected_is_named_and_goes_on(
    plugins: PluginKit, rule: dict[str, str], complaint: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    plugin = plugins.make(filters, "expect", **rule)
    assert plugins.filtered(plugin, dict(RECORD)) == [RECORD]
    assert complaint in caplog.text if complaint else not caplog.records
    assert ("expect check failed" in caplog.text) is (complaint is not None)
    assert plugins.stopped == []


def test_exit_stops_the_engine_with_a_status_of_its_own(plugins: PluginKit, kit: EngineKit) -> None:
    plugin = plugins.make(filters, "expect", key_exists="gone", action="exit")
    assert plugins.filtered(plugin, {}, {}) == [{}, {}]
    assert plugins.stopped == ["a record is not as expected (255)"]
    (kit.folder / "in.log").write_text("one\n")
    tail = ["-i", "tail", "-p", "path=in.log", "-p", "read_from_head=on"]
    flags = [*tail, "-F", "expect", "-m", "*", "-p", "key_exists=x", "-p", "action=exit", "-o", "null", "-m", "*"]
    assert run("-q", *flags, folder=kit.folder).returncode == 255


@pytest.mark.parametrize("rule", [{"key_exists": "$["}, {"key_val_eq": "alone"}])
def test_a_rule_that_makes_no_sense_is_refused(plugins: PluginKit, rule: dict[str, str]) -> None:
    with pytest.raises(InvalidProperty):
        plugins.make(filters, "expect", **rule)
