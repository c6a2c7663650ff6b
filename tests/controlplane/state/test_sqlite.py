"""What only a file store does: it has its folder to itself, and says what is wrong with the file."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from controlplane.model import BlobRow, ChangeRow, VariableRow
from controlplane.state import Store, open_store, sqlite
from headrace.errors import ConflictError, InvalidError, UnavailableError
from tests.controlplane.state.rows import AT

ROW = VariableRow(name="A", selector="*", value="1")


@pytest.fixture
def unopened(data_dir: Path, make_store: Callable[[str], Store]) -> Store:
    return make_store(f"sqlite:///{data_dir}/state.db")


async def put(store: Store, *rows) -> None:
    async with store.write() as transaction:
        await transaction.put(*rows)


async def test_a_folder_belongs_to_one_store_at_a_time(sqlite_store: Store, unopened: Store, data_dir: Path):
    with pytest.raises(ConflictError, match=f"data folder {data_dir} is in use by process {os.getpid()};"):
        await unopened.open()
    await put(sqlite_store, ROW)
    await sqlite_store.close()
    await unopened.open()
    await unopened.close()


async def test_a_folder_in_use_by_another_process_is_refused_until_that_ends(unopened: Store, data_dir: Path):
    program = f"""
import asyncio
from controlplane.state import open_store

async def main():
    await open_store("sqlite:///{data_dir}/state.db").open()
    print("open", flush=True)
    input()

asyncio.run(main())
"""
    with subprocess.Popen(  # noqa: ASYNC220
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "open\n"
        with pytest.raises(ConflictError, match=f"in use by process {other.pid};"):
            await unopened.open()
        other.kill()
        other.wait()
    await unopened.open()
    await put(unopened, ROW)
    await unopened.close()


async def test_what_is_committed_survives_a_kill(unopened: Store, data_dir: Path):
    program = f"""
import asyncio, os, signal
from controlplane.model import VariableRow
from controlplane.state import open_store

async def main():
    store = open_store("sqlite:///{data_dir}/state.db")
    await store.open()
    async with store.write() as transaction:
        await transaction.put(VariableRow(name="KEPT", selector="*", value="1"))
    async with store.write() as transaction:
        await transaction.put(VariableRow(name="LOST", selector="*", value="1"))
        await transaction.find(VariableRow)
        os.kill(os.getpid(), signal.SIGKILL)

asyncio.run(main())
"""
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == -9  # noqa: ASYNC221
    await unopened.open()
    async with unopened.read() as reader:
        assert [row.name for row in await reader.find(VariableRow)] == ["KEPT"]
    await unopened.close()


async def test_the_files_are_for_their_owner_alone(sqlite_store: Store, data_dir: Path):
    await put(sqlite_store, ROW)
    modes = {path.name: path.stat().st_mode & 0o777 for path in (data_dir, *data_dir.iterdir())}
    assert modes.pop(data_dir.name) == 0o700
    assert {"state.db", "state.db-wal", "lock"} <= modes.keys()
    assert set(modes.values()) == {0o600}


async def test_a_full_disk_is_said_and_what_was_there_stays(
    unopened: Store, data_dir: Path, monkeypatch: pytest.MonkeyPatch
):
    await unopened.open()
    await put(unopened, ROW)
    await unopened.close()
    monkeypatch.setattr(sqlite, "PRAGMAS", (*sqlite.PRAGMAS, "max_page_count = 60"))
    await unopened.open()
    with pytest.raises(UnavailableError, match=f"{data_dir}/state.db: the disk is full; free some space"):
        await put(unopened, BlobRow(sha256="ab", data=bytes(1 << 20), at=AT))
    await put(unopened, VariableRow(name="B", selector="*", value="1"))
    async with unopened.read() as reader:
        assert [row.name for row in await reader.find(VariableRow)] == ["A", "B"]
        assert await reader.find(BlobRow) == []
    await unopened.close()


async def test_a_file_that_is_no_database_is_said(unopened: Store, data_dir: Path):
    data_dir.mkdir()
    (data_dir / "state.db").write_text("hello, world\n" * 100)
    with pytest.raises(UnavailableError, match=r"state.db: it is no SQLite database; move it away"):
        await unopened.open()
    assert (data_dir / "state.db").read_text().startswith("hello")


async def test_a_damaged_file_is_said(unopened: Store, data_dir: Path):
    await unopened.open()
    await put(unopened, *(VariableRow(name=f"A{n}", selector="*", value="1" * 500) for n in range(100)))
    await unopened.close()
    path = data_dir / "state.db"
    whole = path.read_bytes()
    page = 4096
    path.write_bytes(whole[:page] + b"\xff" * (len(whole) - page))
    with pytest.raises(UnavailableError, match="it is damaged; restore a backup"):
        await unopened.open()


async def test_a_folder_that_cannot_be_made_is_said(data_dir: Path):
    data_dir.write_text("a file")
    with pytest.raises(UnavailableError, match=f"data folder {data_dir} cannot be used: File exists"):
        await open_store(f"sqlite:///{data_dir}/state.db").open()


async def test_another_programs_lock_is_waited_for_and_then_said(
    unopened: Store, data_dir: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(sqlite, "BUSY_S", 0.05)
    store = open_store(f"sqlite:///{data_dir}/state.db")
    await store.open()
    with closing(sqlite3.connect(data_dir / "state.db")) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(UnavailableError, match="another program holds it locked"):
            await put(store, ROW)
        other.rollback()
        await put(store, ROW)
    await store.close()


async def test_a_row_that_a_newer_version_wrote_is_said_by_table(sqlite_store: Store, data_dir: Path):
    with closing(sqlite3.connect(data_dir / "state.db")) as other, other:
        other.execute("INSERT INTO changes VALUES (1, 'galaxy', 'x', 0)")
    async with sqlite_store.read() as reader:
        with pytest.raises(UnavailableError, match=r"table 'changes' .* 'galaxy' is no Topic"):
            await reader.scan(ChangeRow)


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("state.db", "kind 'state.db' is not known; there are sqlite://, postgresql://"),
        ("mysql://localhost/x", "kind 'mysql' is not known"),
        ("sqlite://", "give sqlite:/// and the path of a file"),
        ("sqlite:///:memory:", "give sqlite:/// and the path of a file"),
        ("sqlite:///folder/", "give sqlite:/// and the path of a file"),
        ("sqlite://host/x", "give sqlite:/// and the path of a file"),
        ("sqlite:///x?mode=ro", "give sqlite:/// and the path of a file"),
    ],
)
def test_a_url_that_is_not_understood_is_refused(url: str, why: str):
    with pytest.raises(InvalidError, match=why):
        open_store(url)


@pytest.mark.parametrize("package", ["asyncpg", "greenlet"])
def test_a_missing_package_names_the_extra(package: str, monkeypatch: pytest.MonkeyPatch):
    for module in ("controlplane.state.postgres", "controlplane.state.postgres_listener"):
        monkeypatch.delitem(sys.modules, module, raising=False)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(
        InvalidError, match=rf"postgresql stores need the package '{package}': pip install 'headrace\[postgres\]'"
    ):
        open_store("postgresql://localhost/headrace")


@pytest.mark.parametrize("name", ["with space", "100%", "a%20b", "a#b", "a@b:c", "ünï", "-"])
async def test_a_folder_may_have_any_name(name: str, tmp_path: Path):
    store = open_store(f"sqlite:///{tmp_path}/{name}/state.db")
    await store.open()
    await put(store, ROW)
    await store.close()
    assert (tmp_path / name / "state.db").is_file()
