"""The schema and its history: the same by every way, and what older and newer versions may do with it."""

from __future__ import annotations

import asyncio
import gzip
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy.ext.asyncio import create_async_engine

from controlplane.model import ChangeRow, EventRow, PlaneRow, Topic, VariableRow
from controlplane.state import Store
from controlplane.state.migrate import KNOWN, MIGRATIONS
from controlplane.state.tables import METADATA
from headrace.errors import ConflictError
from tests.controlplane.state.rows import ADDED, AT, ONE_OF_EACH, ROW_CLASSES, key_of

GOLDEN = Path(__file__).parent / "golden"


async def run(url: str, work: Callable[[sa.Connection], object]) -> object:
    """Runs plain SQLAlchemy code on the database, past the store."""
    engine = create_async_engine(url.replace("://", "+asyncpg://")) if "postgres" in url else sa.create_engine(url)
    if isinstance(engine, sa.Engine):
        try:
            with engine.begin() as connection:
                return work(connection)
        finally:
            engine.dispose()
    async with engine.begin() as connection:
        result = await connection.run_sync(work)
    await engine.dispose()
    return result


async def execute(url: str, *statements: str) -> None:
    def work(connection: sa.Connection) -> None:
        for statement in statements:
            connection.exec_driver_sql(statement)

    await run(url, work)


async def opened_and_closed(store: Store) -> None:
    await store.open()
    await store.close()


async def test_migrations_make_the_tables_of_the_row_classes(store_url: str, make_store: Callable[[str], Store]):
    await opened_and_closed(make_store(store_url))

    def differences(connection: sa.Connection) -> list:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        return compare_metadata(context, METADATA)

    assert await run(store_url, differences) == []


async def test_text_sorts_by_code_point_whatever_the_locale_of_the_server(
    postgres_url: str, make_store: Callable[[str], Store]
):
    await opened_and_closed(make_store(postgres_url))
    query = (
        "SELECT table_name, column_name FROM information_schema.columns WHERE data_type = 'text' "
        "AND table_schema = 'public' AND collation_name IS DISTINCT FROM 'C'"
    )
    assert await run(postgres_url, lambda connection: connection.exec_driver_sql(query).all()) == []


def test_the_known_revisions_are_those_of_the_scripts():
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    config.set_main_option("path_separator", "newline")
    scripts = list(ScriptDirectory.from_config(config).walk_revisions())
    assert tuple(script.revision for script in reversed(scripts)) == KNOWN
    assert all(script.module.OLDEST in KNOWN for script in scripts)


async def test_a_schema_that_a_newer_version_only_expanded_works(store_url: str, make_store: Callable[[str], Store]):
    store = make_store(store_url)
    await opened_and_closed(store)
    await execute(
        store_url,
        "ALTER TABLE variables ADD COLUMN later TEXT NOT NULL DEFAULT 'none'",
        "CREATE TABLE laters (id TEXT PRIMARY KEY)",
        "UPDATE alembic_version SET version_num = '9999'",
    )
    await store.open()
    async with store.write() as transaction:
        await transaction.put(VariableRow(name="A", selector="*", value="1"))
    await store.close()
    await execute(store_url, "UPDATE variables SET later = 'some'")
    await store.open()
    async with store.write() as transaction:
        await transaction.put(VariableRow(name="A", selector="*", value="2"))
        assert await transaction.find(VariableRow) == [VariableRow(name="A", selector="*", value="2")]
    await store.close()
    kept = await run(store_url, lambda connection: connection.exec_driver_sql("SELECT later FROM variables").scalar())
    assert kept == "some"


async def test_a_schema_that_is_too_new_is_refused_by_number(store_url: str, make_store: Callable[[str], Store]):
    store = make_store(store_url)
    await opened_and_closed(store)
    await execute(
        store_url,
        "UPDATE alembic_version SET version_num = '9999'",
        "UPDATE schema_compatibility SET oldest = '9000'",
    )
    for _ in range(2):  # and the refused store lets go of everything
        with pytest.raises(
            ConflictError, match=f"schema 9999, which needs a Headrace that knows schema 9000; .*{KNOWN[-1]}"
        ):
            await store.open()


async def test_tables_of_somebody_else_are_left_alone(
    store_url: str, data_dir: Path, make_store: Callable[[str], Store]
):
    data_dir.mkdir()
    await execute(store_url, "CREATE TABLE agents (licence INTEGER)", "INSERT INTO agents VALUES (7)")
    with pytest.raises(ConflictError, match="'agents' that Headrace did not make"):
        await make_store(store_url).open()
    rows = await run(store_url, lambda connection: connection.exec_driver_sql("SELECT * FROM agents").all())
    assert rows == [(7,)]


async def test_control_planes_that_start_together_on_an_empty_database_agree(
    postgres_url: str, make_store: Callable[[str], Store]
):
    stores = [make_store(postgres_url) for _ in range(4)]
    async with asyncio.TaskGroup() as group:
        for store in stores:
            group.create_task(store.open())
    planes = []
    for store in stores:
        async with store.read() as reader:
            planes.append(await reader.plane())
        await store.close()
    assert len(set(planes)) == 1


def test_a_migrated_store_opens_without_alembic(tmp_path: Path):
    program = f"""
import asyncio, sys
from controlplane.state import open_store

async def main():
    store = open_store("sqlite:///{tmp_path}/state.db")
    await store.open()
    await store.close()
    print("alembic" in sys.modules, "asyncpg" in sys.modules)

asyncio.run(main())
"""
    said = [subprocess.check_output([sys.executable, "-c", program], text=True).split() for _ in range(2)]
    assert said == [["True", "False"], ["False", "False"]]


@pytest.mark.parametrize("file", sorted(GOLDEN.glob("*.db.gz")), ids=lambda file: file.stem)
async def test_a_database_of_an_earlier_version_reads_as_it_was_written(
    file: Path, data_dir: Path, make_store: Callable[[str], Store]
):
    data_dir.mkdir()
    (data_dir / "state.db").write_bytes(gzip.decompress(file.read_bytes()))
    store = make_store(f"sqlite:///{data_dir}/state.db")
    await store.open()
    async with store.read() as reader:
        rows = [row for kind in ROW_CLASSES for row in await reader.find(kind)]
    async with store.write() as transaction:
        assert transaction.log(Topic.PLANE, "still here") == 6
    await store.close()
    written = [row for schema, added in ADDED.items() if schema <= file.name[1:5] for row in added]
    assert {(type(row), *key_of(row)): row for row in rows} == {
        (type(row), *key_of(row)): row for row in (*written, *GOLDEN_ROWS)
    }


GOLDEN_ROWS = (
    PlaneRow(instance_id="golden", epoch=2, fleet_revision=5, generation=41),
    ChangeRow(revision=2, topic=Topic.AGENT, key="a-0", at=AT),
    ChangeRow(revision=3, topic=Topic.AGENT, key="a-1", at=AT),
    ChangeRow(revision=4, topic=Topic.AGENT, key="a-2", at=AT),
    ChangeRow(revision=5, topic=Topic.EVENT, key="agent.lost", at=AT),
    EventRow(revision=5, at=AT, kind="agent.lost", message="not heard of", agent_id="a-2"),
)


async def write_golden(store: Store) -> None:
    """How a golden file is written, once, by the version that made its schema, with the clock at `AT`."""
    async with store.write() as transaction:
        transaction.log(Topic.AGENT, "a-0", "a-0", "a-1", "a-2")
        transaction.event("agent.lost", "not heard of", agent_id="a-2")
        await transaction.put(*ONE_OF_EACH)
        transaction.raise_generation(40)
        transaction.next_generation()
        transaction.next_epoch()
