"""`test` and `try`: pipelines on sample records, run by the embedded engine or by a stand-in for another."""

from __future__ import annotations

import re
import textwrap
from pathlib import Path

import pytest

from headrace.cli import main
from headrace.cli.exits import Exit
from headrace.cli.samples import Sample, instances, rewritten
from headrace.cli.secret_values import environment
from headrace.config import Document, parse
from headrace.errors import InvalidError, NotFoundError
from headrace.types import SecretReference

PIPELINE = """
service: {flush: 5, http_server: on, parsers_file: own.conf}
parsers: [{name: kv, format: logfmt}]
pipeline:
  inputs:
    - name: tail
      path: /var/log/app.log
      tag: app
      parser: kv
      mem_buf_limit: 1M
      processors: {logs: [{name: content_modifier, action: upsert, key: seen, value: yes}]}
  filters:
    - {name: grep, match: '*', exclude: level debug}
    - {name: modify, alias: mark, match: '*', rename: msg message}
  outputs:
    - {name: http, match: app, host: example.org, retry_limit: no_limits}
    - {name: stdout, match: none}
"""


class Folder:
    def __init__(self, path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.path = path
        self._capsys = capsys

    def write(self, name: str, text: str) -> Path:
        path = self.path / name
        path.write_text(textwrap.dedent(text))
        return path

    def run(self, *arguments: str) -> tuple[int, str, str]:
        code = main(list(arguments))
        said = self._capsys.readouterr()
        return code, said.out, said.err


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Folder:
    monkeypatch.chdir(tmp_path)
    made = Folder(tmp_path, capsys)
    made.write("own.conf", "[PARSER]\n    Name other\n    Format json\n")
    made.write("p.yaml", PIPELINE)
    return made


def document(text: str = PIPELINE) -> Document:
    return parse(textwrap.dedent(text), file="p.yaml")


def test_instances_are_called_as_an_engine_calls_them() -> None:
    text = "pipeline: {inputs: [{name: dummy}, {name: tail, alias: a}, {name: dummy}, {name: tail}]}"
    assert list(instances(document(text).inputs)) == ["dummy.0", "a", "dummy.2", "tail.3"]


def test_an_input_becomes_a_file_and_outputs_become_files() -> None:
    made = rewritten(document(), Sample(lines=("x",)), folder=Path("/f"))
    (reader,) = made.inputs
    assert {prop.name: prop.value for prop in reader.properties} == {
        "name": "tail",
        "path": "/f/sample.log",
        "tag": "app",
        "alias": "tail.0",
        "read_from_head": "true",
        "exit_on_eof": "true",
        "parser": "kv",
    }
    assert [processor.name for processor in reader.processors] == ["content_modifier"]
    assert made.filters == document().filters
    assert [(o.name, o.alias, o.get("match"), o.find("host")) for o in made.outputs] == [
        ("file", "http.0", "app", None),
        ("file", "stdout.1", "none", None),
    ]
    assert made.service is not None
    assert [prop.name for prop in made.service.properties] == ["flush", "grace", "log_level", "parsers_file"]


def test_a_pipeline_is_cut_off_after_some_filters() -> None:
    made = rewritten(document(), Sample(records=({},)), folder=Path("/f"), filters=1)
    assert [section.name for section in made.filters] == ["grep"]
    assert [(o.get("match"), o.get("format")) for o in made.outputs] == [("*", "out_file")]


@pytest.mark.parametrize(
    ("inputs", "sample", "message"),
    [
        (
            "{name: dummy}, {name: dummy}",
            Sample(),
            "say which input the sample is for; the pipeline has dummy.0, dummy.1",
        ),
        ("{name: dummy}", Sample(input="tail.0"), "the pipeline has no input 'tail.0'; it has dummy.0"),
        ("{name: tail, tag: k8s.*}", Sample(), r"made of a file name \(k8s.\*\); say which one the sample has: 'tag'"),
    ],
)
def test_what_is_not_said_is_asked_for(inputs: str, sample: Sample, message: str) -> None:
    with pytest.raises((InvalidError, NotFoundError), match=message):
        rewritten(document(f"pipeline: {{inputs: [{inputs}]}}"), sample, folder=Path("/f"))


def test_a_fluent_bit_gets_time_for_multi_line_messages() -> None:
    text = "pipeline: {inputs: [{name: tail, path: x, tag: t, multiline.parser: java}]}"
    for engine, ends in (("embedded", True), ("fluent-bit", False)):
        made = rewritten(document(text), Sample(), folder=Path("/f"), engine=engine)
        assert (made.inputs[0].find("exit_on_eof") is not None) is ends


TESTS = """
    tests:
      - name: debug is dropped
        records: [{level: debug}, {level: error, msg: bad}]
        expect:
          http.0: [{level: error, message: bad, seen: "yes"}]
          stdout.1: []
      - name: lines are parsed
        lines: ["level=info msg=hi"]
        expect: {http.0: [{level: info, message: MESSAGE, seen: "yes"}]}
      - {name: a file is read, sample: in.log, expect: {http.0: []}}
"""


def test_tests_pass(folder: Folder) -> None:
    folder.write("in.log", "level=debug\n")
    folder.write("p.tests.yaml", TESTS.replace("MESSAGE", "hi"))
    code, out, err = folder.run("test", "-f", "p.yaml")
    assert out == "passed  debug is dropped\npassed  lines are parsed\npassed  a file is read\n"
    assert (code, err) == (Exit.DONE, "3 of 3 tests passed\n")


def test_a_test_that_fails_shows_the_difference(folder: Folder) -> None:
    folder.write("in.log", "level=debug\n")
    tests = folder.write("others.yaml", TESTS.replace("MESSAGE", "hello"))
    code, out, err = folder.run("test", "-f", "p.yaml", "--tests", str(tests))
    assert code == Exit.REFUSED
    assert "FAILED  lines are parsed\n    --- http.0 expected\n    +++ http.0 found\n" in out
    assert '    -{"level": "info", "message": "hello", "seen": "yes"}\n' in out
    assert '    +{"level": "info", "message": "hi", "seen": "yes"}\n' in out
    assert err == "2 of 3 tests passed\n"


def test_a_pipeline_that_the_engine_refuses_fails_its_tests_with_its_words(folder: Folder) -> None:
    folder.write("p.yaml", PIPELINE.replace("name: grep", "name: grpe"))
    folder.write("p.tests.yaml", "tests: [{records: [{}], expect: {}}]")
    code, out, _ = folder.run("test", "-f", "p.yaml")
    assert code == Exit.REFUSED
    assert "filter 'grpe' is not known to the embedded engine; did you mean 'grep'?" in out


@pytest.mark.parametrize(
    ("tests", "message"),
    [
        ("[", "p.tests.yaml is not YAML"),
        ("tests: []", "p.tests.yaml has no tests"),
        ("tests: [x]", "test 1 is not a map"),
        ("tests: [{expect: {}}]", "needs one of 'records', 'lines' and 'sample'"),
        ("tests: [{records: [1], expect: {}}]", "'records' is a list of maps"),
        ("tests: [{lines: [1], expect: {}}]", "'lines' is a list of texts"),
        ("tests: [{lines: [], expect: []}]", "'expect' is a map"),
        ("tests: [{recods: []}]", "'recods' is not known; did you mean 'records'?"),
        ("tests: [{sample: gone.log, expect: {}}]", "cannot read gone.log: No such file"),
    ],
)
def test_tests_that_make_no_sense_are_refused(folder: Folder, tests: str, message: str) -> None:
    folder.write("p.tests.yaml", tests)
    code, out, err = folder.run("test", "-f", "p.yaml")
    assert (code, out) == (Exit.REFUSED, "")
    assert message in err


def test_every_fault_of_a_pipeline_is_told(folder: Folder) -> None:
    folder.write("p.yaml", "pipelin: {}\nservce: {}\n")
    folder.write("p.tests.yaml", "tests: [{records: [], expect: {}}]")
    code, _, err = folder.run("test", "-f", "p.yaml")
    assert code == Exit.REFUSED
    assert "p.yaml:1:1" in err
    assert "p.yaml:2:1" in err


def test_try_shows_each_stage(folder: Folder) -> None:
    folder.write("in.log", "level=debug\nlevel=info msg=hi\n")
    code, out, err = folder.run("try", "-f", "p.yaml", "--input", "in.log")
    assert (code, err) == (Exit.DONE, "")
    assert re.sub(r"\[\d+\.\d+, ", "[", out).splitlines() == [
        "== input: 2 records",
        'app: [{"level":"debug","seen":"yes"}]',
        'app: [{"level":"info","msg":"hi","seen":"yes"}]',
        "== grep.0: 1 records",
        'app: [{"level":"info","msg":"hi","seen":"yes"}]',
        "== mark: 1 records",
        'app: [{"level":"info","message":"hi","seen":"yes"}]',
        "== output http.0: 1 records",
        '{"level":"info","message":"hi","seen":"yes"}',
        "== output stdout.1: 0 records",
    ]


def test_a_manifest_is_tested_with_the_files_that_it_names(folder: Folder) -> None:
    folder.write("change.lua", "function f(tag, time, record) return 2, time, {tag = tag} end")
    folder.write(
        "edge.yaml",
        """
        apiVersion: headrace/v1
        kind: Pipeline
        metadata: {name: edge}
        spec:
          selector: role=edge
          files: {change.lua: {path: change.lua}}
          config: |
            pipeline:
              inputs: [{name: dummy, tag: d}]
              filters: [{name: lua, match: '*', script: change.lua, call: f}]
              outputs: [{name: stdout, match: '*'}]
        """,
    )
    folder.write("edge.tests.yaml", "tests: [{records: [{a: 1}], expect: {stdout.0: [{tag: d}]}}]")
    code, out, err = folder.run("test", "-f", "edge.yaml")
    assert (code, out) == (Exit.DONE, "passed  test 1\n"), err


def test_another_engine_is_run_by_its_path_and_one_that_is_not_there_is_named(folder: Folder) -> None:
    engine = folder.write("engine", '#!/bin/sh\necho "$2" | grep -q pipeline.yaml || exit 9\nexit 3\n')
    engine.chmod(0o755)
    folder.write("p.tests.yaml", "tests: [{records: [{}], expect: {}}]")
    assert "exit status 3" in folder.run("test", "-f", "p.yaml", "--engine", str(engine))[1]
    code, out, _ = folder.run("test", "-f", "p.yaml", "--engine", "no-such-engine")
    assert code == Exit.REFUSED
    assert "there is no 'no-such-engine' on PATH" in out


def test_secrets_get_their_values_from_the_environment_or_a_file_and_are_shown_nowhere(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("API_TOKEN", raising=False)
    folder.write(
        "edge.yaml",
        """
        apiVersion: headrace/v1
        kind: Pipeline
        metadata: {name: edge}
        spec:
          selector: '*'
          secrets: [{name: api-token, env: API_TOKEN}]
          config: |
            pipeline:
              inputs: [{name: dummy, tag: d}]
              filters: [{name: modify, match: '*', set: "token ${API_TOKEN}"}]
              outputs: [{name: stdout, match: '*'}]
        """,
    )
    folder.write("value", "hunter-2-is-long\n")
    folder.write(
        "edge.tests.yaml", "tests: [{records: [{a: 1}], expect: {stdout.0: [{a: 1, token: hunter-2-is-long}]}}]"
    )
    test = ("test", "-f", "edge.yaml")
    assert folder.run(*test, "--secret", "api-token=file:value")[0] == Exit.DONE
    monkeypatch.setenv("GIVEN", "another-one")
    folder.write("in.log", "x\n")
    _, out, err = folder.run("try", "-f", "edge.yaml", "--input", "in.log", "--secret", "api-token=env:GIVEN")
    assert '"token":"***"' in out
    assert "another-one" not in out + err
    for given, why in (
        ((), "needs secret 'api-token'; give its value by --secret api-token=env:VARIABLE"),
        (("--secret", "api-token=hunter-2"), "a value itself is never an argument"),
        (("--secret", "api-tken=env:GIVEN"), "names no secret 'api-tken'; it names api-token"),
        (("--secret", "api-token=env:NONE"), "'NONE' is not in this environment"),
        (("--secret", "api-token=file:none"), "none cannot be read"),
    ):
        code, out, err = folder.run(*test, *given)
        assert (code, why in err) == (Exit.REFUSED, True)
        assert "hunter-2" not in out + err
    monkeypatch.setenv("API_TOKEN", "there already")
    assert environment((), [SecretReference(name="api-token", env="API_TOKEN")]) == {"API_TOKEN": "there already"}
