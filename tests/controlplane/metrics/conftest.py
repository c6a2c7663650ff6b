"""One suite, every metric store: a test that takes `metric_store` runs on each."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from controlplane.metrics import MetricStore
from controlplane.metrics.sqlite import SqliteMetricStore

BACKENDS = ("sqlite",)
START = 1_767_225_600_000
"""The first moment of 2026, in milliseconds; begins an hour."""


@asynccontextmanager
async def opened(store: MetricStore) -> AsyncIterator[MetricStore]:
    await store.open()
    try:
        yield store
    finally:
        await store.close()


@pytest.fixture(params=BACKENDS)
async def metric_store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[MetricStore]:
    """An open and empty store."""
    async with opened(SqliteMetricStore(tmp_path / "metrics.db")) as store:
        yield store
