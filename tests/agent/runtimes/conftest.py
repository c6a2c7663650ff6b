"""A workload's folder, and configurations in place in it, for engines to run."""

from __future__ import annotations

import os
import signal
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from agent.folders import Folder
from agent.runtimes import Launch
from agent.runtimes.ports import free_port
from agent.runtimes.process import holders
from agent.runtimes.render import render
from headrace.config import parse
from headrace.types import Engine
from tests.agent.conftest import ENVIRONMENT

Place = Callable[..., Launch]


@pytest.fixture
async def folder(tmp_path: Path) -> AsyncIterator[Folder]:
    """A workload's folder; whatever still runs in it at the end fails the test, and is ended."""
    folder = Folder(tmp_path / "p")
    yield folder
    left = holders(folder.lock)
    for pid in left:
        os.kill(pid, signal.SIGKILL)
    assert not left


@pytest.fixture
def place(folder: Folder) -> Place:
    """Writes a configuration and makes it current."""
    port = free_port()

    def place(text: str, sha256: str = "a" * 64) -> Launch:
        rendered = render(parse(text), engine=Engine.EMBEDDED, port=port, storage=str(folder.data))
        folder.write(sha256, (), name=rendered.name, text=rendered.text)
        folder.switch(sha256)
        return Launch(
            folder=folder.path,
            config=folder.current(rendered.name),
            sha256=rendered.sha256,
            environment=ENVIRONMENT,
            port=port,
            log=folder.log,
            lock=folder.lock,
            grace=1.0,
        )

    return place
