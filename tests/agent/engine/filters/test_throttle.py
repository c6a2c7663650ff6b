"""The rate over a sliding window, on a clock of the test's own."""

from dataclasses import replace

import pytest

from agent.engine.config import InvalidProperty
from agent.engine.filters.throttle import Throttle, ThrottleConfig
from agent.engine.record import Batch
from tests.agent.engine.conftest import NOW, PluginKit


class Time:
    def __init__(self) -> None:
        self.now = NOW

    def pass_seconds(self, seconds: float) -> None:
        self.now += int(seconds * 1e9)


def throttle(plugins: PluginKit, clock: Time, **properties: object) -> Throttle:
    return Throttle(ThrottleConfig(**properties), replace(plugins.context(), clock=lambda: clock.now))  # type: ignore[arg-type]


def let_through(plugin: Throttle, count: int) -> int:
    return len(plugin.process(Batch("t", [1] * count, [{}] * count), lambda _batch: None))


def test_the_average_over_the_window_is_the_limit(plugins: PluginKit) -> None:
    clock = Time()
    plugin = throttle(plugins, clock, rate=10.0, window=3, interval="1s")
    assert let_through(plugin, 100) == 30  # an idle window has room for all of it
    assert let_through(plugin, 100) == 0
    clock.pass_seconds(1)
    assert let_through(plugin, 100) == 0
    clock.pass_seconds(2)
    assert let_through(plugin, 20) == 20
    clock.pass_seconds(1.5)
    assert let_through(plugin, 100) == 10
    clock.pass_seconds(1_000_000)
    assert let_through(plugin, 100) == 30


def test_a_steady_flow_below_the_rate_loses_nothing(plugins: PluginKit) -> None:
    clock = Time()
    plugin = throttle(plugins, clock, rate=10.0, window=5, interval="1m")
    for _ in range(20):
        assert let_through(plugin, 9) == 9
        clock.pass_seconds(60)


def test_small_numbers_count_as_the_defaults_as_in_fluent_bit(plugins: PluginKit) -> None:
    plugin = throttle(plugins, Time(), rate=0.5, window=1)
    assert let_through(plugin, 100) == 5


@pytest.mark.parametrize("interval", ["soon", "0", ""])
def test_an_interval_that_is_no_time_is_refused(plugins: PluginKit, interval: str) -> None:
    with pytest.raises(InvalidProperty):
        throttle(plugins, Time(), interval=interval)


def test_the_status_is_logged_as_the_window_slides(plugins: PluginKit, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    clock = Time()
    plugin = throttle(plugins, clock, rate=10.0, window=2, print_status=True)
    let_through(plugin, 8)
    clock.pass_seconds(1)
    let_through(plugin, 1)
    assert "limit is 10.00 per 1 with window size of 2, current rate is: 4 per interval" in caplog.text
