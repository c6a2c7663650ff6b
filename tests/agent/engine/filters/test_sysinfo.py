"""What the machine says of itself, under the keys that were asked for."""

import platform

from agent.engine.registry import filters
from tests.agent.engine.conftest import PluginKit


def test_each_key_that_is_given_gets_its_fact_over_what_was_there(plugins: PluginKit) -> None:
    plugin = plugins.make(
        filters,
        "sysinfo",
        fluentbit_version_key="version",
        os_name_key="os",
        hostname_key="host",
        os_version_key="build",
        kernel_version_key="kernel",
    )
    machine = platform.uname()
    assert plugins.filtered(plugin, {"os": "plan9", "n": 1}) == [
        {
            "os": "linux",
            "n": 1,
            "version": "5.1.1",
            "host": machine.node,
            "build": machine.version,
            "kernel": machine.release,
        }
    ]


def test_without_keys_a_record_stays_as_it_is(plugins: PluginKit) -> None:
    assert plugins.filtered(plugins.make(filters, "sysinfo"), {"n": 1}) == [{"n": 1}]
