"""A workload's folder: names that stay inside, contents that are switched at once, and what is deleted when."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.file_names import name_faults
from agent.folders import Folder
from headrace.file_names import RESERVED
from headrace.types import File

A, B = "a" * 64, "b" * 64


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path / "workloads" / "p")


def put(folder: Folder, sha256: str, **files: bytes) -> None:
    named = [File(name=name.replace("__", "/").replace("_", "."), content=data) for name, data in files.items()]
    folder.write(sha256, named, name="headrace.yaml", text=f"# {sha256}")


def test_a_shipped_file_is_found_where_a_relative_path_looks(folder: Folder) -> None:
    put(folder, A, parsers_conf=b"one", lua__a_lua=b"script")
    folder.switch(A)
    assert (folder.path / "parsers.conf").read_bytes() == b"one"
    assert (folder.path / "lua" / "a.lua").read_bytes() == b"script"
    assert folder.current("headrace.yaml").read_text() == f"# {A}"


def test_a_switch_changes_every_file_and_drops_what_is_gone(folder: Folder) -> None:
    put(folder, A, parsers_conf=b"one", old_conf=b"x")
    put(folder, B, parsers_conf=b"two")
    assert folder.switch(A) is None
    assert folder.switch(B) == A
    assert (folder.path / "parsers.conf").read_bytes() == b"two"
    assert not os.path.lexists(folder.path / "old.conf")
    assert folder.switch(A) == B
    assert (folder.path / "old.conf").read_bytes() == b"x"


def test_what_is_in_place_is_written_by_nobody_again(folder: Folder) -> None:
    put(folder, A, parsers_conf=b"one")
    folder.switch(A)

    def times() -> dict[Path, int]:
        return {path: path.lstat().st_mtime_ns for path in folder.path.rglob("*")}

    before = times()
    put(folder, A, parsers_conf=b"one")
    folder.switch(A)
    assert times() == before


def test_writing_beside_changes_nothing_that_is_current(folder: Folder) -> None:
    put(folder, A, parsers_conf=b"one")
    folder.switch(A)
    put(folder, B, parsers_conf=b"two", new_conf=b"n")
    assert (folder.path / "parsers.conf").read_bytes() == b"one"
    assert folder.current_sha256() == A


def test_a_file_that_the_engine_wrote_is_not_overwritten(folder: Folder) -> None:
    put(folder, A)
    folder.switch(A)
    (folder.path / "out.log").write_text("records")
    put(folder, B, out_log=b"mine")
    with pytest.raises(FileExistsError, match=r"'out.log' .* in the way"):
        folder.switch(B)
    assert folder.current_sha256() == A
    assert (folder.path / "out.log").read_text() == "records"


def test_what_is_kept_or_current_is_not_collected(folder: Folder) -> None:
    for sha256 in (A, B, "c" * 64):
        put(folder, sha256)
    folder.switch(A)
    folder.collect({B})
    assert {path.name for path in (folder.path / "rev").iterdir()} == {A, B}


def test_a_removed_pipeline_keeps_its_data_until_it_is_purged(folder: Folder) -> None:
    put(folder, A, parsers_conf=b"one")
    folder.switch(A)
    (folder.data / "tail.0").mkdir()
    (folder.data / "tail.0" / "1.flb").write_bytes(b"12345")
    (folder.data / "offsets.db").write_bytes(b"x")
    assert (folder.backlog().chunks, folder.backlog().size) == (1, 5)
    folder.clear()
    assert [path.name for path in folder.path.iterdir()] == ["data"]
    assert (folder.data / "offsets.db").exists()
    folder.purge()
    assert not folder.path.exists()
    folder.clear()
    assert folder.backlog().chunks == 0


@pytest.mark.parametrize(
    "name",
    [
        "",
        "/etc/passwd",
        "../x",
        "a/../../x",
        "a//b",
        "a/./b",
        "a/",
        "x\0y",
        "x\ny",
        "a\\b",
        ".hidden",
        "n" * 256,
        *sorted(RESERVED),
        "data/x",
        "current/x",
        "rev/x",
    ],
)
def test_a_name_that_leaves_the_folder_or_is_the_agents_own_is_refused(name: str) -> None:
    assert len(name_faults([File(name=name)])) == 1


def test_an_ordinary_name_is_fine_also_one_that_is_a_module() -> None:
    names = ["parsers.conf", "lua/a.lua", "agent/__init__.py", "json.py", "ä b.conf"]
    assert name_faults([File(name=name) for name in names]) == ()


def test_a_file_cannot_be_the_folder_of_another() -> None:
    (fault,) = name_faults([File(name="a"), File(name="a/b")])
    assert "'a' is also the folder" in fault.message


@given(st.lists(st.text(alphabet="ab./\\\0", max_size=8), max_size=4, unique=True))
def test_whatever_names_are_accepted_stay_inside(tmp_path_factory: pytest.TempPathFactory, names: list[str]) -> None:
    files = [File(name=name, content=b"x") for name in names]
    if name_faults(files):
        return
    root = tmp_path_factory.mktemp("folder")
    folder = Folder(root / "w" / "p")
    folder.write(A, files, name="headrace.yaml", text="")
    folder.switch(A)
    inside = root / "w" / "p"
    written = [path for path in root.rglob("*") if path.is_file()]
    assert all(path.resolve().is_relative_to(inside) for path in written)
    assert all((inside / name).read_bytes() == b"x" for name in names)
