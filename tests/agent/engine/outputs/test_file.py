"""Records in files, in every format."""

import errno
import os
from pathlib import Path

import pytest

from agent.engine.outputs import file as module
from agent.engine.outputs.file import file_name
from agent.engine.plugin import PluginError, Result
from agent.engine.record import Batch
from agent.engine.registry import outputs
from tests.agent.engine.conftest import PluginKit

BATCH = Batch("app.log", [1_500_000_001, 2_000_000_000], [{"a": "x", "n": 1.5}, {"message": "é", "m": {"k": None}}])


@pytest.mark.parametrize(
    ("properties", "text"),
    [
        (
            {},
            'app.log: [1.500000001, {"a":"x","n":1.5}]\napp.log: [2.000000000, {"message":"\\u00e9","m":{"k":null}}]\n',
        ),
        ({"format": "plain"}, '{"a":"x","n":1.5}\n{"message":"\\u00e9","m":{"k":null}}\n'),
        ({"format": "csv"}, '1.500000001,"x",1.500000\n2.000000000,"é",{"k"=>nil}\n'),
        ({"format": "csv", "delimiter": "tab"}, '1.500000001\t"x"\t1.500000\n2.000000000\t"é"\t{"k"=>nil}\n'),
        (
            {"format": "csv", "csv_column_names": True},
            'timestamp,"a","n"\n1.500000001,"x",1.500000\n2.000000000,"é",{"k"=>nil}\n',
        ),
        (
            {"format": "ltsv"},
            '"time":1.500000\t"a":"x"\t"n":1.500000\n"time":2.000000\t"message":"é"\t"m":{"k"=>nil}\n',
        ),
        ({"format": "ltsv", "label_delimiter": "comma"}, None),
        ({"format": "template"}, "1.500000 {message}\n2.000000 é\n"),
        ({"format": "template", "template": "{a}|{n}|{open"}, "x|1.500000|{open\n{a}|{n}|{open\n"),
    ],
)
async def test_each_format_is_written_as_fluent_bit_does(
    plugins: PluginKit, tmp_path: Path, properties: dict[str, object], text: str | None
) -> None:
    plugin = plugins.make(outputs, "file", path=str(tmp_path), file="out", **properties)
    await plugin.open()
    assert await plugin.write(BATCH) is Result.OK
    await plugin.close()
    written = (tmp_path / "out").read_text()
    assert written == text if text is not None else '"a","x"' in written


async def test_column_names_start_a_file_once(plugins: PluginKit, tmp_path: Path) -> None:
    plugin = plugins.make(outputs, "file", path=str(tmp_path), file="out", format="csv", csv_column_names=True)
    await plugin.write(BATCH)
    await plugin.write(BATCH)
    assert (tmp_path / "out").read_text().count("timestamp") == 1


async def test_without_a_name_the_tag_names_the_file(plugins: PluginKit, tmp_path: Path) -> None:
    await plugins.make(outputs, "file", path=str(tmp_path)).write(BATCH)
    assert (tmp_path / "app.log").exists()


@pytest.mark.parametrize(
    ("tag", "name"),
    [
        ("a.b-c_1", "a.b-c_1"),
        ("../../etc/passwd", "_/_/etc/passwd"),
        ("/abs", "abs"),
        ("a b:c", "a_b_c"),
        ("..", "_"),
        ("", "_"),
        ("a\\..\\b", "a/_/b"),
        ("é", "_"),
    ],
)
def test_a_tag_cannot_leave_the_folder(tag: str, name: str) -> None:
    assert file_name(tag) == name


async def test_missing_folders_are_made_only_when_asked_for(plugins: PluginKit, tmp_path: Path) -> None:
    folder = tmp_path / "a" / "b"
    with pytest.raises(FileNotFoundError):
        await plugins.make(outputs, "file", path=str(folder), file="out").write(BATCH)
    await plugins.make(outputs, "file", path=str(folder), file="out", mkdir=True).write(BATCH)
    assert (folder / "out").exists()


async def test_a_write_that_fails_halfway_leaves_nothing(
    plugins: PluginKit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plugin = plugins.make(outputs, "file", path=str(tmp_path), file="out", format="plain")
    await plugin.write(BATCH)
    before = (tmp_path / "out").read_bytes()
    calls = 0

    def full_disk(fd: int, data: bytes) -> int:
        nonlocal calls
        calls += 1
        if calls > 1:
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(fd, bytes(data)[:5])

    write = os.write
    monkeypatch.setattr(module.os, "write", full_disk)
    with pytest.raises(OSError, match="No space left"):
        await plugin.write(BATCH)
    monkeypatch.undo()
    assert (tmp_path / "out").read_bytes() == before


async def test_a_path_that_is_a_file_is_refused(plugins: PluginKit, tmp_path: Path) -> None:
    (tmp_path / "x").write_text("")
    with pytest.raises(PluginError, match="is not a folder"):
        await plugins.make(outputs, "file", path=str(tmp_path / "x")).open()
