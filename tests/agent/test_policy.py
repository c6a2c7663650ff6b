"""What an agent's policy refuses, and where."""

from __future__ import annotations

import pytest

from agent.policy import DENIED_AS_ROOT, Policy, policy_of
from headrace.config import parse

FOLDER = "/data/workloads/p"


def faults(policy: Policy, *lines: str, section: str = "[OUTPUT]\n  name null\n") -> list[str]:
    text = section + "".join(f"  {line}\n" for line in lines)
    return [fault.message for fault in policy.check(parse(text), folder=FOLDER)]


def plugin_faults(policy: Policy, kind: str, name: str) -> list[str]:
    return faults(policy, section=f"[{kind}]\n  name {name}\n")


def test_no_policy_refuses_nothing() -> None:
    assert faults(Policy(), "path /etc", "host evil.example", "db /x", section="[OUTPUT]\n  name exec\n") == []


@pytest.mark.parametrize("name", ["exec", "exec_wasi", "lua", "EXEC"])
def test_what_runs_code_is_denied_to_root_and_says_how_to_allow_it(name: str) -> None:
    found = plugin_faults(Policy(deny_plugins=DENIED_AS_ROOT), "INPUT", name)
    assert found == [
        f"input {name.lower()!r} is denied by this agent's policy; start the agent with --allow-plugin {name.lower()}"
    ]


def test_loading_shared_objects_is_denied_to_root() -> None:
    text = "plugins:\n  - /tmp/out_evil.so\npipeline:\n  outputs:\n    - name: 'null'\n"
    found = Policy(deny_plugins=DENIED_AS_ROOT).check(parse(text), folder=FOLDER)
    assert len(found) == 1
    assert "plugins" in found[0].message


@pytest.mark.parametrize(
    ("allow", "deny", "kind", "name", "is_denied"),
    [
        ((), ("tail",), "INPUT", "tail", True),
        ((), ("tail",), "INPUT", "tcp", False),
        ((), ("input:http",), "INPUT", "http", True),
        ((), ("input:http",), "OUTPUT", "http", False),
        ((), ("*",), "FILTER", "grep", True),
        (("grep",), ("*",), "FILTER", "grep", False),
        (("filter:grep",), ("*",), "FILTER", "grep", False),
        (("exec",), DENIED_AS_ROOT, "INPUT", "exec", False),
        ((), ("kube*",), "FILTER", "kubernetes", True),
    ],
)
def test_allow_lifts_what_deny_matches(
    allow: tuple[str, ...], deny: tuple[str, ...], kind: str, name: str, is_denied: bool
) -> None:
    assert bool(plugin_faults(Policy(allow_plugins=allow, deny_plugins=deny), kind, name)) is is_denied


def test_a_processor_is_a_plugin_too() -> None:
    text = """
pipeline:
  inputs:
    - name: dummy
      processors:
        logs:
          - name: lua
            code: os.execute("id")
"""
    (fault,) = Policy(deny_plugins=DENIED_AS_ROOT).check(parse(text), folder=FOLDER)
    assert fault.plugin == "lua"
    assert fault.line == 7


@pytest.mark.parametrize(
    ("path", "is_allowed"),
    [
        ("/var/log", True),
        ("/var/log/nginx/access.log", True),
        ("/var/log/*.log", True),
        ("/var/logs/x.log", False),
        ("/var/log/../secret", False),
        ("/var/*/x.log", False),
        ("/etc/shadow", False),
        ("/*", False),
        ("mine.log", True),
        ("data/x.log", True),
        ("../other/x.log", False),
        ("./../p/x.log", True),
        ("/data/workloads/p/x.log", True),
        ("/data/workloads/px/x.log", False),
    ],
)
def test_a_path_is_allowed_below_what_a_rule_names(path: str, is_allowed: bool) -> None:
    found = faults(Policy(read=("/var/log",)), f"path {path}", section="[INPUT]\n  name tail\n")
    assert (not found) is is_allowed


def test_every_path_of_a_list_counts() -> None:
    found = faults(Policy(read=("/var/log",)), "path /var/log/a,/etc/b", section="[INPUT]\n  name tail\n")
    assert len(found) == 1
    assert "'/etc/b' may not be read" in found[0]


@pytest.mark.parametrize(
    ("lines", "section", "verb"),
    [
        (["db /x/offsets.db"], "[INPUT]\n  name tail\n  path a\n", "written"),
        (["path /x"], "[OUTPUT]\n  name file\n", "written"),
        (["file /x/y"], "[OUTPUT]\n  name file\n", "written"),
        (["path .", "file ../../x"], "[OUTPUT]\n  name file\n", "written"),
        (["path /x/sock"], "[INPUT]\n  name Syslog\n", "written"),
        (["unix_path /x/sock"], "[INPUT]\n  name forward\n", "written"),
        (["script /x/a.lua"], "[FILTER]\n  name lua\n", "read"),
        (["kube_meta_preload_cache_dir /x/pods"], "[FILTER]\n  name kubernetes\n", "read"),
        (["tls.ca_file /x/ca.pem"], "[OUTPUT]\n  name http\n", "read"),
        (["parsers_file /x/parsers.conf"], "[SERVICE]\n", "read"),
        (["log_file /x/log"], "[SERVICE]\n", "written"),
        (["kube_ca_file /x/ca.crt"], "[FILTER]\n  name kubernetes\n", "read"),
    ],
)
def test_paths_are_found_wherever_plugins_name_them(lines: list[str], section: str, verb: str) -> None:
    found = faults(Policy(read=("/r",), write=("/w",)), *lines, section=section)
    assert len(found) == 1
    assert f"may not be {verb}" in found[0]


@pytest.mark.parametrize("kind", ["INPUT", "FILTER"])
def test_an_api_server_is_a_destination_because_it_gets_a_token(kind: str) -> None:
    policy, section = Policy(destinations=("*.example.com",)), f"[{kind}]\n  name kubernetes\n"
    assert not faults(policy, "kube_url https://api.example.com:6443", section=section)
    assert not faults(policy, "kube_tag_prefix x", section=section)
    for line in ("kube_url https://elsewhere.net", "kubelet_host elsewhere.net"):
        assert len(faults(policy, line, section=section)) == 1


def test_what_may_be_read_may_not_be_written() -> None:
    policy = Policy(read=("/var/log",))
    assert faults(policy, "path /var/log", section="[OUTPUT]\n  name file\n")
    assert not faults(policy, "path /var/log/x", section="[INPUT]\n  name tail\n")


def test_an_address_path_is_not_a_file() -> None:
    assert not faults(Policy(read=("/r",)), "path /_bulk", section="[OUTPUT]\n  name es\n")


@pytest.mark.parametrize(
    ("lines", "is_allowed"),
    [
        (["host logs.example.com"], True),
        (["host evil.com"], False),
        (["host 10.0.0.1"], False),
        (["uri /ingest"], True),
        (["uri https://evil.com/x"], False),
        (["endpoint https://a.example.com:8443/x"], True),
        (["brokers a.example.com:9092,evil.com:9092"], False),
        (["proxy http://user:pw@evil.com:80"], False),
        (["cloud_id mine:bG9ncy5leGFtcGxlLmNvbSRhYmM6OTI0MyRraWI="], True),
        (["cloud_id mine:ZXZpbC5jb20kYWJj"], False),
        (["cloud_id a.example.com"], True),
        (["cloud_id mine:%%%"], False),
    ],
)
def test_a_destination_must_match_a_rule(lines: list[str], is_allowed: bool) -> None:
    found = faults(Policy(destinations=("*.example.com",)), *lines, section="[OUTPUT]\n  name http\n")
    assert (not found) is is_allowed


@pytest.mark.parametrize("name", ["prometheus_exporter", "Vivo_Exporter"])
def test_an_address_to_listen_on_is_no_destination(name: str) -> None:
    policy = Policy(destinations=("*.example.com",))
    assert not faults(policy, "host 0.0.0.0", section=f"[OUTPUT]\n  name {name}\n")


@pytest.mark.parametrize("name", ["splunk", "loki", "es", "opensearch", "influxdb", "tcp", "forward"])
def test_every_output_over_the_network_has_a_destination(name: str) -> None:
    policy = Policy(destinations=("*.example.com",))
    assert faults(policy, "host evil.com", section=f"[OUTPUT]\n  name {name}\n")
    assert not faults(policy, "host a.example.com", "uri /x", section=f"[OUTPUT]\n  name {name}\n")


def test_a_policy_file_with_an_unknown_rule_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="unknown rule 'deny_plugin'; did you mean 'deny_plugins'"):
        policy_of({"deny_plugin": ["exec"]})
    with pytest.raises(ValueError, match="rule 'read' must be a list"):
        policy_of({"read": "/var/log"})
    assert policy_of({"read": ["/var/log"]}) == Policy(read=("/var/log",))


def test_memory_is_a_size_that_an_engine_can_start_with() -> None:
    assert policy_of({"memory": "256M"}) == Policy(memory=256_000_000)
    with pytest.raises(ValueError, match="rule 'memory': 'much' is not a size"):
        policy_of({"memory": "much"})
    with pytest.raises(ValueError, match="rule 'memory': 1M is too little"):
        policy_of({"memory": "1M"})
