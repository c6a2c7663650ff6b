"""One suite, every metric store: a test that takes `metric_store` runs on each."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from controlplane.metrics import MetricStore
from controlplane.metrics.influxdb import InfluxMetricStore
from controlplane.metrics.influxdb_url import parse
from controlplane.metrics.sqlite import SqliteMetricStore
from tests import processes
from tests.influxd import Influxd

BACKENDS = ("sqlite", "influxdb")
START = 1_767_225_600_000
"""The first moment of 2026, in milliseconds; begins an hour."""

_databases = itertools.count(1)


@asynccontextmanager
async def opened(store: MetricStore) -> AsyncIterator[MetricStore]:
    await store.open()
    try:
        yield store
    finally:
        await store.close()


@pytest.fixture(scope="session")
def shared_influxd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Influxd]:
    """An InfluxDB of this worker's own; each test makes a database in it."""
    with Influxd.installed(tmp_path_factory.mktemp("influxd")) as server:
        processes.LASTING.add(server.pid)
        try:
            yield server
        finally:
            processes.LASTING.discard(server.pid)


@pytest.fixture(params=BACKENDS)
async def metric_store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[MetricStore]:
    """An open and empty store."""
    store: MetricStore = SqliteMetricStore(tmp_path / "metrics.db")
    if request.param == "influxdb":
        server: Influxd = request.getfixturevalue("shared_influxd")
        # A name that has to be quoted, and a policy that keeps the tests' points.
        url = f"influxdb://127.0.0.1:{server.port}/a%22b%20{next(_databases)}?retention=0"
        store = InfluxMetricStore(parse(url))
    async with opened(store) as opened_store:
        yield opened_store
