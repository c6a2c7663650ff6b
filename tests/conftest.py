"""Fixtures that every test may use, and two checks on every test: no child process and no asyncio task is left.

Ports are never asked for here: our own servers bind port 0 and say what they got (`tests.servers` has the exception).
"""

from __future__ import annotations

import asyncio
import inspect
import os
import signal
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests import processes
from tests.influxd import influxd as influxd
from tests.kube_real import kubernetes_server as kubernetes_server
from tests.kube_real import real_kubernetes as real_kubernetes
from tests.servers import journal as journal
from tests.servers import nginx as nginx
from tests.servers import pgbouncer_url as pgbouncer_url
from tests.servers import postgres_server as postgres_server
from tests.servers import postgres_url as postgres_url
from tests.servers import rsyslog as rsyslog

# A loaded machine is no failure; CI tries the same examples every time, and `make soak` ten times as many new ones.
settings.register_profile("headrace", max_examples=50, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("ci", settings.get_profile("headrace"), derandomize=True)
settings.register_profile("deep", settings.get_profile("headrace"), max_examples=500)
settings.load_profile("ci" if os.environ.get("CI") else "headrace")


class Clock:
    """Time that stands until a test moves it: calling it gives seconds, `now` the same moment as a datetime."""

    def __init__(self) -> None:
        self.seconds = 1_000_000.0

    def __call__(self) -> float:
        return self.seconds

    def now(self) -> datetime:
        return datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=self.seconds - 1_000_000.0)

    def advance(self, seconds: float) -> None:
        self.seconds += seconds


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    """A folder for a program's state, which is not there yet."""
    return tmp_path / "data"


@pytest.fixture(autouse=True)
def no_leaked_process() -> Iterator[None]:
    """Fails the test that leaves a child process behind, and ends the child."""
    before = processes.children()
    yield
    leaked = processes.children() - before - processes.LASTING
    for pid in leaked:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    assert not leaked, f"the test left child processes behind: {sorted(leaked)}"


@pytest.fixture(autouse=True)
def no_leaked_task(request: pytest.FixtureRequest) -> None:
    """Fails the asynchronous test that leaves a task running."""
    if inspect.iscoroutinefunction(getattr(request, "function", None)):
        request.getfixturevalue("_tasks_end")


@pytest.fixture
async def _tasks_end() -> AsyncIterator[None]:
    yield
    ours = asyncio.current_task()
    tasks = [task for task in asyncio.all_tasks() if task is not ours]
    if tasks:  # whoever was told to end may need some turns of the loop
        _, tasks = await asyncio.wait(tasks, timeout=2)
    assert not tasks, f"the test left tasks running: {', '.join(sorted(task.get_name() for task in tasks))}"
