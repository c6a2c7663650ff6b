"""The command line, as child processes: flags, exit codes, signals, messages."""

import json
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from tests.agent.engine.conftest import REPOSITORY, EngineKit

DUMMY = """
    service: {flush: 0.1}
    pipeline:
      inputs: [{name: dummy, rate: 100, samples: 3}]
      outputs: [{name: file, match: '*', file: out, format: plain}]
"""


def run(*flags: str, folder: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-P", "-m", "agent.engine", *flags]
    env = {"PYTHONPATH": str(REPOSITORY), "PATH": "/usr/bin:/bin"}
    return subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, timeout=60, check=False)


def test_help_version_and_schema_need_no_configuration(tmp_path: Path) -> None:
    assert "--dry-run" in run("-h", folder=tmp_path).stdout
    assert run("-V", folder=tmp_path).stdout.startswith("Headrace embedded engine v")
    shown = json.loads(run("-J", folder=tmp_path).stdout)
    assert set(shown) == {"fluent-bit", "customs", "inputs", "processors", "filters", "outputs"}
    tail = next(plugin for plugin in shown["inputs"] if plugin["name"] == "tail")
    assert set(tail) == {"type", "name", "description", "properties"}
    assert {"name": "key", "default": "log", "type": "string"}.items() <= next(
        option for option in tail["properties"]["options"] if option["name"] == "key"
    ).items()
    assert {option["name"] for option in tail["properties"]["global_options"]} >= {"tag", "alias", "mem_buf_limit"}


def test_a_good_configuration_passes_the_dry_run_and_opens_nothing(tmp_path: Path) -> None:
    (tmp_path / "p.yaml").write_text(
        "service: {http_server: on, http_port: 1}\n"
        "pipeline:\n  inputs: [{name: tail, path: x.log, db: off.db}]\n  outputs: [{name: stdout, match: '*'}]\n"
    )
    done = run("-c", "p.yaml", "--dry-run", folder=tmp_path)
    assert (done.returncode, done.stdout) == (0, "configuration test is successful\n")
    assert [path.name for path in tmp_path.iterdir()] == ["p.yaml"]


@pytest.mark.parametrize(
    ("text", "messages"),
    [
        ("pipeline:\n  inputs: [{name: dumy}]\n", ["p.yaml:2:", "input 'dumy' is not known", "did you mean 'dummy'?"]),
        (
            "pipeline:\n  outputs: [{name: stdot, match: '*'}]\n",
            ["output 'stdot' is not known", "did you mean 'stdout'?"],
        ),
        (
            "pipeline:\n  inputs:\n    - name: dummy\n      ratee: 1\n      samples: many\n"
            "  filters:\n    - name: grepp\n",
            [
                "p.yaml:4:7: input 'dummy': unknown property 'ratee'; did you mean 'rate'?",
                "p.yaml:5:7",
                "filter 'grepp'",
            ],
        ),
        (
            "pipeline:\n  inputs:\n    - name: tail\n",
            ["p.yaml:3:", "input 'tail': required property 'path' is missing"],
        ),
        ("pipeline:\n  inputs: [{name: tail, path: x, parser: none}]\n", ["parser 'none' is not defined"]),
        ("service: {flsh: 1}\n", ["service: unknown property 'flsh'; did you mean 'flush'?"]),
        ("service: {flush: soon}\n", ["property 'flush': 'soon' is not a number"]),
        ("service: {daemon: on}\n", ["property 'daemon'", "does not fork"]),
        ("service: {parsers_file: none.conf}\n", ["cannot read", "none.conf"]),
        ("pipeline:\n  inputs: [{name: mqtt}]\n", ["input 'mqtt' is not known to the embedded engine"]),
        (
            "pipeline:\n  inputs: [{name: tail, path: x, docker_mode: on}]\n",
            ["known to Fluent Bit but not implemented"],
        ),
        ("pipeline:\n  inputs: [{name: dummy, storage.type: filesystem}]\n", ["filesystem needs 'storage.path'"]),
        (
            "pipeline:\n  inputs:\n    - {name: dummy, alias: a}\n    - {name: dummy, alias: a}\n",
            ["another input is called 'a'"],
        ),
        (
            "pipeline:\n  outputs: [{name: 'null', match: '*', retry_limit: x}]\n",
            ["property 'retry_limit': 'x' is not a number from 1 on"],
        ),
        (
            "pipeline:\n  outputs: [{name: 'null', match_regex: '('}]\n",
            ["property 'match_regex': not a regular expression"],
        ),
        ("plugins: [/usr/lib/x.so]\n", ["external plugins are not implemented by the embedded engine"]),
        ("customs: [{name: calyptia, api_key: x}]\n", ["custom plugins are not implemented by the embedded engine"]),
        ("pipelin:\n  inputs: []\n", ["p.yaml:1:", "pipelin"]),
        ("pipeline: {inputs: [\n", ["p.yaml:"]),
    ],
)
def test_the_dry_run_finds_every_fault_with_its_position(tmp_path: Path, text: str, messages: list[str]) -> None:
    (tmp_path / "p.yaml").write_text(text)
    done = run("-c", "p.yaml", "-D", folder=tmp_path)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    for message in messages:
        assert message in done.stderr
    assert "[error] [config] " in done.stderr
    assert "configuration file contains errors, aborting." in done.stderr


def test_a_missing_file_or_none_at_all_is_one_sentence(tmp_path: Path) -> None:
    done = run("-c", "none.yaml", "-D", folder=tmp_path)
    assert done.returncode == 1
    assert "cannot read 'none.yaml': No such file or directory" in done.stderr
    assert run(folder=tmp_path).returncode == 1
    assert run("--no-such-flag", folder=tmp_path).returncode == 2


def test_a_start_that_fails_ends_with_255(tmp_path: Path) -> None:
    (tmp_path / "p.yaml").write_text("pipeline:\n  inputs: [{name: tail, path: x, db: missing/off.db}]\n")
    done = run("-c", "p.yaml", folder=tmp_path)
    assert done.returncode == 255
    assert "input 'tail.0' cannot start: offset database 'missing/off.db' cannot be opened" in done.stderr
    assert run("-c", "none.yaml", folder=tmp_path).returncode == 255


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_in_order_with_everything_delivered(kit: EngineKit, number: signal.Signals) -> None:
    with kit.child(DUMMY.replace("flush: 0.1", "flush: 30"), "-v") as engine:
        engine.wait_for(lambda: "started (pid=" in engine.output)
        engine.send(number)
        assert engine.wait() == 0
    assert "service has stopped (0 pending tasks)" in engine.output


def test_records_left_behind_are_in_the_exit_status(kit: EngineKit) -> None:
    text = DUMMY.replace("flush: 0.1", "flush: 0.1, grace: 0").replace("file: out", "path: missing, file: out")
    with kit.child(text) as engine:
        engine.wait_for(lambda: "was not delivered; retry" in engine.output)
        assert engine.stop() == 75
    assert "undelivered records: 0 are on disk" in engine.output
    assert "set 'storage.path'" in engine.output


def test_hangup_reloads_if_reloading_is_enabled(kit: EngineKit) -> None:
    with kit.child(DUMMY, "-Y") as engine:
        engine.wait_for(lambda: kit.lines("out"))
        config = kit.folder / "pipeline.yaml"
        config.write_text(config.read_text().replace("file: out", "file: other").replace("samples: 3", "samples: 4"))
        engine.send(signal.SIGHUP)
        engine.wait_for(lambda: kit.lines("other"))
        assert engine.stop() == 0
    with kit.child(DUMMY, name="second") as engine:
        engine.wait_for(lambda: "started" in engine.output)
        engine.send(signal.SIGHUP)
        engine.wait_for(lambda: "hot reloading is not enabled" in engine.output)
        assert engine.is_running()


def test_flags_are_defaults_that_the_configuration_overrides(kit: EngineKit) -> None:
    text = DUMMY.replace("flush: 0.1", "http_listen: 127.0.0.1, http_port: 0, http_server: on")
    with kit.child(text, "-P", "1", "-f", "0.1", "-q") as engine:
        engine.wait_for(lambda: len(kit.lines("out")) == 3)
        assert engine.stop() == 0
        assert engine.output == "", "quiet: nothing but errors"


def test_the_log_goes_where_it_is_told(kit: EngineKit) -> None:
    with kit.child(DUMMY, "-l", "engine.txt", "--parser", "parsers.conf", name="child") as engine:
        assert engine.wait() == 255, "the parser file is missing"
    (kit.folder / "parsers.conf").write_text("[PARSER]\n    Name x\n    Format json\n")
    with kit.child(DUMMY, "-l", "engine.txt", "-R", "parsers.conf", name="child") as engine:
        engine.wait_for(lambda: kit.lines("out"))
        assert engine.stop() == 0
    lines = kit.lines("engine.txt")
    assert lines[0].startswith("[20")
    assert "] [ info] [engine] started (pid=" in lines[0]


def test_a_file_named_like_a_module_is_not_imported(kit: EngineKit) -> None:
    for name in ("asyncio.py", "json.py", "orjson.py"):
        (kit.folder / name).write_text("raise SystemExit('imported')")
    (kit.folder / "agent").mkdir()
    (kit.folder / "agent" / "__init__.py").write_text("raise SystemExit('imported')")
    with kit.child(DUMMY) as engine:
        engine.wait_for(lambda: kit.lines("out"))


def test_the_monitoring_api_answers_as_soon_as_it_is_started(kit: EngineKit) -> None:
    text = DUMMY.replace("flush: 0.1", "http_listen: 127.0.0.1, http_port: 0, http_server: on")
    with kit.child(text) as engine:
        line = engine.wait_for(
            lambda: next((line for line in engine.output.splitlines() if "monitoring API on" in line), None)
        )
        port = int(line.rpartition(":")[2])
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/api/v1/health", timeout=10) as answer:
            assert answer.read() == b"ok\n"
