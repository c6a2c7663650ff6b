"""Pipeline files as text: what is taken, and the place of everything that is not."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.api import Manifest
from headrace.cli import manifest
from headrace.cli.diff import text_of
from headrace.errors import InvalidError
from headrace.types import Engine, File, SecretReference

GOOD = """\
apiVersion: headrace/v1
kind: Pipeline
metadata:
  name: nginx
  labels: {team: web, version: 1.10}
  description: access log of the edge
spec:
  selector: role=local
  engine: embedded
  config: |
    pipeline:
      inputs:
        - name: dummy
  files:
    parsers.conf: {path: ./parsers.conf}
    note.txt: {content: "hello"}
  secrets:
    - {name: key, env: API_KEY}
"""


def read(path: str) -> bytes:
    if path in {"./parsers.conf", "fluent-bit.yaml"}:
        return f"text of {path}".encode()
    if path == "binary":
        return b"\xff\xfe"
    raise InvalidError(f"cannot read {path!r}: no such file")


def faults(text: str) -> list[str]:
    with pytest.raises(InvalidError) as refused:
        manifest.parse(text, file="p.yaml", read=read)
    return [str(fault) for fault in refused.value.faults]


def test_a_pipeline_file_becomes_its_manifest() -> None:
    (source,) = manifest.parse(GOOD, file="p.yaml", read=read)
    assert source.manifest == Manifest(
        name="nginx",
        labels={"team": "web", "version": "1.10"},
        description="access log of the edge",
        selector="role=local",
        engine=Engine.EMBEDDED,
        config="pipeline:\n  inputs:\n    - name: dummy\n",
        files=(
            File(name="parsers.conf", content=b"text of ./parsers.conf"),
            File(name="note.txt", content=b"hello"),
        ),
        secrets=(SecretReference(name="key", env="API_KEY"),),
    )


def test_a_line_of_the_configuration_is_found_in_the_file() -> None:
    (source,) = manifest.parse(GOOD, file="p.yaml", read=read)
    file, line, column = source.place(3, 5)
    assert (file, GOOD.split("\n")[line - 1][column - 1 :]) == ("p.yaml", "- name: dummy")


def test_a_folded_configuration_has_no_lines_in_the_file() -> None:
    (source,) = manifest.parse(GOOD.replace("config: |", "config: >"), file="p.yaml", read=read)
    assert source.place(2, 1) == ("p.yaml (config of 'nginx')", 2, 1)


def test_a_configuration_of_its_own_file_is_placed_there() -> None:
    spec = "{selector: '*', configFile: fluent-bit.yaml}"
    text = f"apiVersion: headrace/v1\nkind: Pipeline\nmetadata: {{name: a}}\nspec: {spec}"
    (source,) = manifest.parse(text, file="p.yaml", read=read)
    assert source.manifest.config == "text of fluent-bit.yaml"
    assert source.place(7, 3) == ("fluent-bit.yaml", 7, 3)


def test_several_documents_are_several_manifests() -> None:
    text = f"---\n{GOOD}---\n{GOOD.replace('name: nginx', 'name: other')}---\n"
    assert [source.manifest.name for source in manifest.parse(text, file="p.yaml", read=read)] == ["nginx", "other"]


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("headrace/v1", "headrace/v2", "p.yaml:1:13: apiVersion is 'headrace/v2'; this version knows 'headrace/v1'"),
        ("kind: Pipeline", "kind: Pod", "p.yaml:2:7: kind is 'Pod'; this version knows 'Pipeline'"),
        ("kind: Pipeline\n", "", "p.yaml:1:1: a pipeline file has no 'kind'; write 'kind: Pipeline'"),
        ("metadata:", "metdata:", "p.yaml:3:1: a pipeline file has no key 'metdata'; did you mean 'metadata'?"),
        ("  labels:", "  label:", "p.yaml:5:3: metadata has no key 'label'; did you mean 'labels'?"),
        ("selector:", "selecter:", "p.yaml:8:3: spec has no key 'selecter'; did you mean 'selector'?"),
        ("role=local", "''", "p.yaml:8:13: 'selector' of spec is empty; which agents is it for? '*' is every agent"),
        ("embedded", "embeded", "p.yaml:9:11: there is no engine 'embeded'; did you mean 'embedded'?"),
        ("config: |", "conf: |", "p.yaml:10:3: spec has no key 'conf'; did you mean 'config'?"),
        ("name: nginx", "name: nginx\n  name: b", "p.yaml:5:3: metadata has 'name' twice; first on line 4"),
        ("./parsers.conf}", "x}", "p.yaml:15:26: cannot read 'x': no such file"),
        ('{content: "hello"}', "hello", "p.yaml:16:15: file 'note.txt' must be a map of 'key: value' pairs"),
        ('{content: "hello"}', "{}", "p.yaml:16:15: file 'note.txt' needs either 'path' or 'content'"),
        ("env: API_KEY", "evn: API_KEY", "p.yaml:18:19: a secret has no key 'evn'; did you mean 'env'?"),
        ("team: web", "team: [web]", "p.yaml:5:18: label 'team' must be text, not a map or list"),
        ("access log of the edge", "{a: b}", "p.yaml:6:16: description must be text, not a map or list"),
    ],
)
def test_a_fault_says_where_and_what_to_write(old: str, new: str, expected: str) -> None:
    assert old in GOOD
    assert expected in faults(GOOD.replace(old, new, 1))


@pytest.mark.parametrize(("name", "near"), [("Nginx", "nginx"), ("my_logs", "my-logs")])
def test_a_name_that_is_no_dns_label_is_refused_with_the_nearest_one(name: str, near: str) -> None:
    (fault,) = faults(GOOD.replace("name: nginx", f"name: {name}"))
    assert fault.startswith("p.yaml:4:9: ")
    assert f"did you mean {near!r}?" in fault


def test_a_selector_is_checked_where_it_stands() -> None:
    (fault,) = faults(GOOD.replace("role=local", "role in (a"))
    assert fault.startswith("p.yaml:8:13: ")


def test_every_fault_of_every_document_is_told() -> None:
    bad = GOOD.replace("engine: embedded", "engine: turbo").replace("name: nginx", "name: A!")
    assert len(faults(f"{bad}---\n{bad}")) == 4


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ("selector: '*'", "p.yaml:4:7: spec has no configuration; write it under 'config: |'"),
        ("selector: '*', config: a, configFile: fluent-bit.yaml", "spec has both 'config' and 'configFile'"),
        ("selector: '*', config: {inputs: []}", "config is text, not a map or list; write it as a block: 'config: |'"),
        ("selector: '*', config: ' '", "config is empty"),
        ("selector: '*', configFile: binary", "'binary' is not text in UTF-8"),
    ],
)
def test_there_is_one_configuration_and_it_is_text(spec: str, expected: str) -> None:
    text = f"apiVersion: headrace/v1\nkind: Pipeline\nmetadata: {{name: a}}\nspec: {{{spec}}}"
    (fault,) = faults(text)
    assert expected in fault


@pytest.mark.parametrize("text", ["", "---\n", "# only a comment\n"])
def test_a_file_without_a_pipeline_is_refused(text: str) -> None:
    assert faults(text) == ["p.yaml:1:1: there is no pipeline in this file"]


@pytest.mark.parametrize("text", ["[", "a: [1, 2", "\tapiVersion: x", "apiVersion: *x", "- 1", "5", "a\0b: 1"])
def test_what_is_no_pipeline_file_is_refused_with_a_place(text: str) -> None:
    assert all(fault.startswith("p.yaml:") for fault in faults(text))


def test_a_bomb_of_aliases_is_refused_at_once() -> None:
    levels = "\n".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 12))
    assert "aliases" in faults(f"a0: &a0 x\n{levels}\n")[0]


@given(st.text(max_size=300))
def test_any_text_ends_in_manifests_or_faults(text: str) -> None:
    try:
        found: object = manifest.parse(text, file="p.yaml", read=read)
    except InvalidError as error:
        found = error.faults
    assert found


@pytest.mark.parametrize(
    ("text", "claims"),
    [
        (GOOD, True),
        ('{"apiVersion": "headrace/v1"}', True),
        ('{\n  "kind": "Pipeline"}', True),
        ("kind : Pipeline", True),
        ("pipeline:\n  inputs: []\n", False),
        ("[INPUT]\n    name dummy\n", False),
        ("filters:\n  - name: modify\n    kind: x\n", False),
        ("", False),
    ],
)
def test_a_pipeline_file_is_told_from_a_bare_configuration(text: str, claims: bool) -> None:
    assert manifest.is_manifest(text) is claims


def test_a_bare_configuration_gets_its_name_and_selector_checked() -> None:
    assert manifest.bare("x", file="f.conf", name="a", selector="role=edge").place(3, 1) == ("f.conf", 3, 1)
    with pytest.raises(InvalidError):
        manifest.bare("x", file="f.conf", name="A", selector="*")
    with pytest.raises(InvalidError):
        manifest.bare("x", file="f.conf", name="a", selector="a=(")


_WORDS = st.from_regex(r"[a-z][a-z0-9]{0,8}", fullmatch=True)


@given(
    name=_WORDS,
    labels=st.dictionaries(_WORDS, _WORDS, max_size=3),
    description=st.text("abc :#'\"\n\t-é", max_size=20),
    config=st.text("abc:#'\"{}[]|\n -é", min_size=1, max_size=60).filter(str.strip),
    files=st.dictionaries(_WORDS, st.text("abc \n\"'", max_size=20), max_size=2),
)
def test_a_written_manifest_reads_back(
    name: str, labels: dict[str, str], description: str, config: str, files: dict[str, str]
) -> None:
    written = Manifest(
        name=name,
        labels=labels,
        description=description,
        selector="a=b",
        config=config,
        files=tuple(File(name=key, content=text.encode()) for key, text in sorted(files.items())),
    )
    (source,) = manifest.parse(text_of(written), file="p.yaml", read=read)
    assert source.manifest == written
