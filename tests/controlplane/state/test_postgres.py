"""What only a Postgres store does: several processes' stores on one database, a server that goes away, a proxy."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, suppress

import pytest

from controlplane.model import ChangeRow, Topic, VariableRow
from controlplane.state import Store, open_store, postgres
from headrace.errors import InvalidError, UnavailableError
from tests.controlplane.state.use import follow_the_log
from tests.processes import eventually
from tests.servers import Postgres, free_port


@pytest.fixture
async def open_stores(make_store: Callable[[str], Store]) -> AsyncIterator[Callable]:
    """Opens stores, which are closed at the end."""
    async with AsyncExitStack() as stack:

        async def open_each(*urls: str) -> list[Store]:
            stores = [make_store(url) for url in urls]
            for store in stores:
                await store.open()
                stack.push_async_callback(store.close)
            return stores

        yield open_each


async def log(store: Store, key: str = "x") -> int:
    async with store.write() as transaction:
        return transaction.log(Topic.PIPELINE, key)


async def newest(store: Store) -> int:
    async with store.read() as reader:
        return (await reader.plane()).fleet_revision


async def test_readers_of_the_change_log_miss_nothing_that_two_control_planes_write(postgres_url, open_stores):
    await follow_the_log(await open_stores(postgres_url, postgres_url))


async def test_two_control_planes_never_lose_an_update_or_give_a_number_out_twice(postgres_url, open_stores):
    stores = await open_stores(postgres_url, postgres_url)
    given: list[int] = []

    async def count(store: Store) -> None:
        async with store.write() as transaction:
            row = await transaction.get(VariableRow, "COUNT", "*")
            value = int(row.value) if row else 0
            await transaction.put(VariableRow(name="COUNT", selector="*", value=str(value + 1)))
            given.append(transaction.next_generation())

    async with asyncio.TaskGroup() as group:
        for number in range(40):
            group.create_task(count(stores[number % 2]))
    async with stores[0].read() as reader:
        assert await reader.find(VariableRow) == [VariableRow(name="COUNT", selector="*", value="40")]
    assert sorted(given) == list(range(1, 41))


async def test_each_control_plane_hears_of_the_others_commits(postgres_url, open_stores):
    one, other = await open_stores(postgres_url, postgres_url)
    heard: dict[str, list[int]] = {"one": [], "other": []}
    one.on_commit(heard["one"].append)
    other.on_commit(heard["other"].append)
    await log(one)
    await eventually(lambda: 1 in heard["other"])
    await log(other)
    await eventually(lambda: 2 in heard["one"])


async def test_what_is_no_revision_is_no_hint(postgres_url, postgres_server: Postgres, open_stores):
    (store,) = await open_stores(postgres_url)
    heard: list[int] = []
    store.on_commit(heard.append)
    database = postgres_url.rpartition("/")[2]
    await eventually(lambda: heard)  # the listener is there
    for payload in ("", "x", "-1", "1e9", "77"):
        postgres_server.run(f"NOTIFY headrace, '{payload}'", database=database)
    await eventually(lambda: 77 in heard)
    assert heard == [0, 77]


async def test_a_killed_server_is_unavailable_and_works_again_when_it_is_back(
    postgres_url, postgres_server: Postgres, open_stores
):
    one, other = await open_stores(postgres_url, postgres_url)
    assert await log(one) == 1

    async def write_while_it_dies() -> None:
        async with one.write() as transaction:
            transaction.log(Topic.PIPELINE, "lost")
            postgres_server.kill()

    with pytest.raises(UnavailableError, match="the connection was lost"):
        await write_while_it_dies()
    with pytest.raises(UnavailableError, match=f"127.0.0.1:{postgres_server.port}/.* cannot be reached"):
        await log(one)
    with pytest.raises(UnavailableError, match="cannot be reached"):
        await newest(other)
    postgres_server.start()

    # Nothing of ours needs a second try: dead connections are known as such.
    assert await newest(one) == 1
    assert await newest(other) == 1
    assert await log(one) == 2
    heard: list[int] = []
    other.on_commit(heard.append)
    revision = 2
    while not any(one_heard >= 3 for one_heard in heard):  # until its listener is back, a commit may go unheard
        revision = await log(one)
        with suppress(AssertionError):
            await eventually(lambda: revision in heard, timeout=0.5)  # noqa: B023
    async with other.read() as reader:
        assert [row.key for row in await reader.scan(ChangeRow)] == ["x"] * revision


async def test_a_reader_that_loses_its_server_is_told_so(postgres_url, postgres_server: Postgres, open_stores):
    (store,) = await open_stores(postgres_url)

    async def read_while_it_restarts() -> None:
        async with store.read() as reader:
            await reader.plane()
            postgres_server.restart()
            await reader.plane()

    with pytest.raises(UnavailableError):
        await read_while_it_restarts()
    assert await newest(store) == 0


async def test_a_commit_that_the_server_did_not_hear_of_is_not_there(
    postgres_url, postgres_server: Postgres, open_stores
):
    (store,) = await open_stores(postgres_url)

    async def lose_the_connection_before_commit() -> None:
        async with store.write() as transaction:
            await transaction.put(VariableRow(name="A", selector="*", value="1"))
            await transaction.find(VariableRow)
            postgres_server.run(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE state = 'idle in transaction'"
            )

    with pytest.raises(UnavailableError):
        await lose_the_connection_before_commit()
    async with store.read() as reader:
        assert await reader.find(VariableRow) == []


async def test_a_writer_that_stops_halfway_is_cut_off_and_others_go_on(
    postgres_url, open_stores, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(postgres, "IDLE_WRITER_S", 0.2)
    halted, other = await open_stores(postgres_url, postgres_url)

    async def halt() -> None:
        async with halted.write() as transaction:
            transaction.log(Topic.PIPELINE, "halted")
            # Waits for the server to give the other one its turn.
            assert await log(other, "other") == 1

    with pytest.raises(UnavailableError):
        await halt()
    assert await log(halted) == 2


async def test_behind_a_pooling_proxy_many_control_planes_work(pgbouncer_url, postgres_url, open_stores):
    listening = f"{pgbouncer_url}?listen={postgres_url}"
    stores = await open_stores(listening, listening, f"{pgbouncer_url}?pooled=true")
    await follow_the_log(stores)
    heard: list[int] = []
    stores[0].on_commit(heard.append)
    revision = await log(stores[2])
    await eventually(lambda: revision in heard)
    async with stores[2].read() as reader:
        assert len(await reader.find(ChangeRow, key=["x", "y"])) == 1


async def test_a_key_that_is_too_long_for_an_index_is_refused(postgres_url, open_stores):
    (store,) = await open_stores(postgres_url)
    row = VariableRow(name=random.Random(1).randbytes(10_000).hex(), selector="*", value="1")

    async def write() -> None:
        async with store.write() as transaction:
            await transaction.put(row)

    with pytest.raises(InvalidError, match="too long"):
        await write()
    assert await log(store) == 1


async def test_a_server_that_is_not_there_is_unavailable_and_the_password_stays_secret():
    store = open_store(f"postgresql://ann:s3cret@127.0.0.1:{free_port()}/headrace")
    assert "s3cret" not in store.description
    with pytest.raises(UnavailableError, match=r"postgresql 127.0.0.1:.*/headrace cannot be reached") as failure:
        await store.open()
    assert "s3cret" not in str(failure.value)


async def test_a_database_that_is_not_there_is_said(postgres_server: Postgres):
    with pytest.raises(UnavailableError, match="/nowhere: there is no such database; create it"):
        await open_store(postgres_server.url("nowhere")).open()


async def test_a_user_who_may_not_make_tables_is_told_so(postgres_url, postgres_server: Postgres):
    database = postgres_url.rpartition("/")[2]
    postgres_server.run("CREATE ROLE guest LOGIN")
    try:
        with pytest.raises(UnavailableError, match="this user may not do that; let it own its database"):
            await open_store(postgres_server.url(database, role="guest")).open()
    finally:
        postgres_server.run("DROP ROLE guest")


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("postgresql://localhost/x?pooled=perhaps", "pooled=perhaps; give true or false"),
        ("postgresql://localhost/x?sslmode=perhaps", "the URL is not understood: .*sslmode"),
        ("postgresql://localhost:port/x", "the URL is not understood"),
    ],
)
async def test_a_url_that_is_not_understood_is_refused(url: str, why: str):
    with pytest.raises(InvalidError, match=why):
        await open_store(url).open()
