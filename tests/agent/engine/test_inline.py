"""Plugins named on the command line."""

import pytest

from agent.engine.inline import sections
from headrace.config import ConfigError
from tests.agent.engine.conftest import EngineKit
from tests.agent.engine.test_command import run


def test_properties_go_to_the_plugin_before_them() -> None:
    found = sections(
        [
            ("input", "dummy"),
            ("tag", "app"),
            ("property", "Rate=5"),
            ("output", "null"),
            ("match", "*"),
            ("property", "a=b=c"),
        ]
    )
    assert [(s.kind, [(p.name, p.value) for p in s.properties]) for s in found] == [
        ("input", [("name", "dummy"), ("tag", "app"), ("rate", "5")]),
        ("output", [("name", "null"), ("match", "*"), ("a", "b=c")]),
    ]


def test_every_flag_that_makes_no_sense_is_named() -> None:
    with pytest.raises(ConfigError) as raised:
        sections(
            [
                ("property", "a=b"),
                ("input", "dummy"),
                ("match", "*"),
                ("property", "rate"),
                ("output", "x"),
                ("tag", "t"),
            ]
        )
    assert [fault.position.column for fault in raised.value.faults] == [1, 3, 4, 6]
    assert "command line:1:4: 'rate' is not a property; write name=value" in str(raised.value)


def test_a_pipeline_needs_no_file(kit: EngineKit) -> None:
    (kit.folder / "in.log").write_text("one\ntwo\n")
    tail = ["-i", "tail", "-p", "path=in.log", "-p", "read_from_head=on", "-p", "exit_on_eof=on", "-t", "t"]
    rest = ["-F", "modify", "-m", "*", "-p", "add=k v", "-o", "stdout", "-m", "*", "-p", "format=json_lines"]
    done = run("-q", "-f", "0.1", *tail, *rest, "-p", "json_date_key=false", folder=kit.folder)
    assert (done.returncode, done.stdout) == (0, '{"log":"one","k":"v"}\n{"log":"two","k":"v"}\n')


def test_flags_add_to_a_file(kit: EngineKit) -> None:
    (kit.folder / "in.log").write_text("one\n")
    (kit.folder / "p.yaml").write_text(
        "pipeline: {inputs: [{name: tail, path: in.log, read_from_head: on, exit_on_eof: on}]}\n"
    )
    done = run("-q", "-c", "p.yaml", "-o", "stdout", "-m", "*", "-p", "format=json_lines", folder=kit.folder)
    assert '"log":"one"' in done.stdout
    refused = run("-c", "p.yaml", "-o", "stdot", "-D", folder=kit.folder)
    assert refused.returncode == 1
    assert (
        "command line:1:1: output 'stdot' is not known to the embedded engine; did you mean 'stdout'?" in refused.stderr
    )
    assert "name a file with -c, or an input with -i" in run("-o", "stdout", folder=kit.folder).stderr
