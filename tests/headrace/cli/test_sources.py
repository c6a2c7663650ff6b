"""What `-f` names: files, folders and stdin, and nothing outside of a manifest's own folder."""

from __future__ import annotations

import io
import os
from dataclasses import dataclass
from pathlib import Path

import pytest
import typer

from headrace.api import Change
from headrace.cli import sources
from headrace.errors import InvalidError
from headrace.types import Fault, File

MANIFEST = """\
apiVersion: headrace/v1
kind: Pipeline
metadata: {name: NAME}
spec:
  selector: "*"
  config: |
    pipeline: {}
"""


def write(path: Path, name: str = "a", more: str = "") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(MANIFEST.replace("NAME", name) + more)
    return path


def names(*files: object, recursive: bool = False) -> list[str]:
    found = sources.load([str(file) for file in files], recursive=recursive)
    return [source.manifest.name for source in found]


def test_a_folder_is_all_its_pipeline_files_by_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path / "2.yaml", "b")
    write(tmp_path / "1.yml", "a")
    write(tmp_path / "notes.txt", "c")
    write(tmp_path / "deep" / "3.yaml", "d")
    (tmp_path / "fluent-bit.yaml").write_text("pipeline: {}\n")
    assert names(tmp_path) == ["a", "b"]
    assert "fluent-bit.yaml: left out" in capsys.readouterr().err
    assert names(tmp_path, recursive=True) == ["a", "b", "d"]


def test_a_folder_without_pipelines_is_a_usage_error(tmp_path: Path) -> None:
    with pytest.raises(typer.BadParameter, match="-R looks in the folders below too"):
        names(tmp_path)


def test_stdin_is_a_file_too(monkeypatch: pytest.MonkeyPatch) -> None:
    @dataclass
    class Stdin:
        buffer: io.BytesIO

    monkeypatch.setattr("sys.stdin", Stdin(io.BytesIO(MANIFEST.replace("NAME", "piped").encode())))
    assert names("-") == ["piped"]


def test_the_faults_of_all_files_are_told_together(tmp_path: Path) -> None:
    one, two = write(tmp_path / "1.yaml", "A"), write(tmp_path / "2.yaml", "B")
    with pytest.raises(InvalidError, match="2 faults") as refused:
        names(one, two)
    assert [fault.file for fault in refused.value.faults] == [str(one), str(two)]


def test_a_name_that_is_given_twice_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "1.yaml", "a")
    write(tmp_path / "2.yaml", "a")
    with pytest.raises(InvalidError) as refused:
        names(tmp_path)
    assert "pipeline 'a' is given twice; first at" in refused.value.faults[0].message


def test_files_come_from_the_folder_of_the_manifest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "edge" / "p.yaml", more="  files: {parsers.conf: {path: sub/parsers.conf}}\n")
    (tmp_path / "edge" / "sub").mkdir()
    (tmp_path / "edge" / "sub" / "parsers.conf").write_bytes(b"\xff")
    monkeypatch.chdir(tmp_path)
    (source,) = sources.load(["edge/p.yaml"])
    assert source.manifest.files == (File(name="parsers.conf", content=b"\xff"),)


@pytest.mark.parametrize("path", ["../secret", "/etc/hostname", "sub/../../secret", "link", "folderlink/secret"])
def test_no_file_from_outside_of_the_folder_is_read(tmp_path: Path, path: str) -> None:
    (tmp_path / "secret").write_text("no")
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "sub").mkdir()
    (folder / "link").symlink_to(tmp_path / "secret")
    (folder / "folderlink").symlink_to(tmp_path)
    with pytest.raises(InvalidError) as refused:
        names(write(folder / "p.yaml", more=f"  files: {{x: {{path: {path}}}}}\n"))
    assert "folder of this file" in refused.value.faults[0].message


@pytest.mark.parametrize(
    ("path", "why"), [("none", "No such file"), ("sub", "is not a file"), ("pipe", "is not a file")]
)
def test_only_files_that_are_there_are_read(tmp_path: Path, path: str, why: str) -> None:
    (tmp_path / "sub").mkdir()
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(InvalidError) as refused:
        names(write(tmp_path / "p.yaml", more=f"  files: {{x: {{path: {path}}}}}\n"))
    assert why in refused.value.faults[0].message


def test_a_configuration_file_is_named_as_the_user_would(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = MANIFEST.replace("NAME", "a").replace("config: |\n    pipeline: {}", "configFile: fluent-bit.yaml")
    (tmp_path / "edge").mkdir()
    (tmp_path / "edge" / "p.yaml").write_text(text)
    (tmp_path / "edge" / "fluent-bit.yaml").write_text("pipeline: {}")
    monkeypatch.chdir(tmp_path)
    (source,) = sources.load(["edge/p.yaml"])
    assert source.place(1, 2) == ("edge/fluent-bit.yaml", 1, 2)


def test_a_bare_configuration_takes_its_name_from_the_options(tmp_path: Path) -> None:
    path = tmp_path / "fluent-bit.conf"
    path.write_text("[INPUT]\n    name dummy\n")
    (source,) = sources.load([str(path)], name="edge", selector="role=edge")
    assert (source.manifest.name, source.manifest.selector) == ("edge", "role=edge")
    assert source.manifest.config == "[INPUT]\n    name dummy\n"


def test_options_that_do_not_fit_the_file_are_usage_errors(tmp_path: Path) -> None:
    bare = tmp_path / "fluent-bit.conf"
    bare.write_text("[INPUT]\n    name dummy\n")
    whole = write(tmp_path / "p.yaml")
    with pytest.raises(typer.BadParameter, match="give --name NAME and --selector"):
        sources.load([str(bare)])
    with pytest.raises(typer.BadParameter, match="--selector is missing"):
        sources.load([str(bare)], name="a")
    with pytest.raises(typer.BadParameter, match="says its name and selector itself"):
        sources.load([str(whole)], name="a", selector="*")
    with pytest.raises(typer.BadParameter, match="one bare Fluent Bit file"):
        sources.load([str(bare), str(bare)], name="a", selector="*")
    with pytest.raises(typer.BadParameter, match="cannot read"):
        sources.load([str(tmp_path / "none.yaml")])
    with pytest.raises(typer.BadParameter, match="which file"):
        sources.load([])


def test_what_the_control_plane_finds_is_placed_in_the_file(tmp_path: Path) -> None:
    path = write(tmp_path / "p.yaml", "edge")
    found = sources.load([str(path)])
    fault = Fault(message="pipeline 'edge': filter 'grpe' is not known", file="edge", line=1, column=3)
    with pytest.raises(InvalidError) as refused, sources.placing(found):
        raise InvalidError("refused", faults=[fault])
    assert str(refused.value.faults[0]).startswith(f"{path}:7:7: ")
    (change,) = sources.placed([Change(pipeline="edge", findings=(fault,))], found)
    assert change.findings == refused.value.faults
