"""Which ports a configuration binds."""

from __future__ import annotations

import pytest

from agent.runtimes.listeners import Listener, listeners
from headrace.config import parse

ANY = "0.0.0.0"


@pytest.mark.parametrize(
    ("section", "expected"),
    [
        ("[INPUT]\n  name tcp\n", Listener("tcp", ANY, 5170)),
        ("[INPUT]\n  name TCP\n  port 6000\n  listen 127.0.0.1\n", Listener("tcp", "127.0.0.1", 6000)),
        ("[INPUT]\n  name tcp\n  host 127.0.0.1\n", Listener("tcp", ANY, 5170)),
        ("[INPUT]\n  name udp\n", Listener("udp", ANY, 5170, "udp")),
        ("[INPUT]\n  name collectd\n", Listener("collectd", ANY, 25826, "udp")),
        ("[INPUT]\n  name http\n", Listener("http", ANY, 9880)),
        ("[INPUT]\n  name forward\n", Listener("forward", ANY, 24224)),
        ("[INPUT]\n  name syslog\n  mode tcp\n", Listener("syslog", ANY, 5140, "tcp")),
        ("[INPUT]\n  name syslog\n  mode udp\n", Listener("syslog", ANY, 5140, "udp")),
        ("[INPUT]\n  name opentelemetry\n", Listener("opentelemetry", ANY, 4318)),
        ("[OUTPUT]\n  name prometheus_exporter\n  host ::1\n", Listener("prometheus_exporter", "::1", 2021)),
        ("[OUTPUT]\n  name vivo_exporter\n", Listener("vivo_exporter", ANY, 2025)),
    ],
)
def test_a_listening_plugin_is_known_with_its_defaults(section: str, expected: Listener) -> None:
    assert listeners(parse(section)) == (expected,)


@pytest.mark.parametrize(
    "section",
    [
        "[INPUT]\n  name tail\n  path x\n",
        "[OUTPUT]\n  name http\n  port 9880\n",
        "[INPUT]\n  name forward\n  unix_path /tmp/x\n",
        "[INPUT]\n  name syslog\n  mode unix_udp\n  path /tmp/x\n",
        "[INPUT]\n  name syslog\n  path /tmp/x\n",
        "[INPUT]\n  name tcp\n  port nonsense\n",
        "[INPUT]\n  name tcp\n  port 0\n",
        "[INPUT]\n  name tcp\n  port 99999\n",
    ],
)
def test_everything_else_binds_nothing(section: str) -> None:
    assert listeners(parse(section)) == ()
