"""One suite, every backend: a test that takes `store` runs on each."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from controlplane.state import Store, open_store
from tests.conftest import Clock
from tests.servers import Postgres

BACKENDS = ("sqlite", "postgres")
MakeStore = Callable[[str], Store]


@pytest.fixture(params=BACKENDS)
def backend(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture
def store_url(request: pytest.FixtureRequest, backend: str, data_dir: Path) -> str:
    """A place where nothing is yet."""
    url: str = request.getfixturevalue("postgres_url") if backend == "postgres" else sqlite_url(data_dir)
    return url


@pytest.fixture
def make_store(clock: Clock) -> MakeStore:
    """An unopened store whose clock is the test's."""
    return lambda url: open_store(url, now=clock.now)


@pytest.fixture
async def store(
    request: pytest.FixtureRequest, backend: str, data_dir: Path, make_store: MakeStore
) -> AsyncIterator[Store]:
    """An open and empty store."""
    async with empty_store(request, make_store, backend, data_dir, "shared_database") as opened:
        yield opened


@pytest.fixture(params=BACKENDS)
async def other_store(request: pytest.FixtureRequest, tmp_path: Path, make_store: MakeStore) -> AsyncIterator[Store]:
    """A second one, with a state of its own; with `store` every pair of backends."""
    async with empty_store(request, make_store, request.param, tmp_path / "other", "other_database") as opened:
        yield opened


@pytest.fixture
async def sqlite_store(data_dir: Path, make_store: MakeStore) -> AsyncIterator[Store]:
    """For what is the same on every backend, and slow."""
    async with opened_store(make_store(sqlite_url(data_dir))) as opened:
        yield opened


@pytest.fixture(scope="session")
def shared_database(postgres_server: Postgres) -> Iterator[str]:
    with postgres_server.database() as name:
        yield postgres_server.url(name)


@pytest.fixture(scope="session")
def other_database(postgres_server: Postgres) -> Iterator[str]:
    with postgres_server.database() as name:
        yield postgres_server.url(name)


def sqlite_url(folder: Path) -> str:
    return f"sqlite:///{folder}/state.db"


@asynccontextmanager
async def opened_store(store: Store) -> AsyncIterator[Store]:
    await store.open()
    try:
        yield store
    finally:
        await store.close()


@asynccontextmanager
async def empty_store(
    request: pytest.FixtureRequest, make_store: MakeStore, backend: str, folder: Path, database: str
) -> AsyncIterator[Store]:
    """Making a database for each test would take most of the suite's time."""
    url = request.getfixturevalue(database) if backend == "postgres" else sqlite_url(folder)
    async with opened_store(make_store(url)) as store:
        async with store.write() as transaction:
            await transaction.clear()
            plane = await transaction.plane()
            transaction.count_from(replace(plane, epoch=1, fleet_revision=0, generation=0))
        yield store
