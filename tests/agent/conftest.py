"""What tests of the agent share: contents, engines to run them on, and a host with its state in a test's folder."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from agent.host import Host
from agent.policy import Policy
from agent.runtimes import Runtime
from agent.runtimes.base import Deadlines
from agent.runtimes.fluentbit import EMBEDDED_COMMAND, FluentBit
from agent.state import State
from headrace.content import Content, canonical, sha256_of
from headrace.errors import UnavailableError
from headrace.types import Engine, EngineInfo

STAND_IN = Path(__file__).with_name("stand_in.py")
STAND_IN_COMMAND = (sys.executable, "-S", str(STAND_IN))
ENVIRONMENT = {"PATH": os.environ["PATH"]}
DEADLINES = Deadlines(start=3.0, reload=1.0, stop=0.5, answer=1.0, validate=20.0)
CONFIG = """\
service:
  flush: 0.1
  grace: 1
pipeline:
  inputs:
    - name: dummy
      tag: MARK
      rate: 50
  outputs:
    - name: file
      match: '*'
      path: .
      file: out.log
"""


def config(mark: str = "a", fault: str = "") -> str:
    """A pipeline that writes `out.log`; the mark makes it another content, the fault is for the stand-in."""
    return CONFIG.replace("MARK", f"{mark}.fault:{fault}" if fault else mark)


def content(mark: str = "a", fault: str = "", *, engine: Engine = Engine.AUTO, text: str = "") -> Content:
    return Content(engine=engine, config=text or config(mark, fault))


def blob(value: Content) -> tuple[str, bytes]:
    """A content's hash and its canonical bytes."""
    data = canonical(value)
    return sha256_of(data), data


async def stand_in(engine: Engine = Engine.FLUENT_BIT) -> FluentBit:
    return await FluentBit.find(engine, STAND_IN_COMMAND, environment=ENVIRONMENT, deadlines=DEADLINES)


async def embedded() -> FluentBit:
    # Reloads of a real engine take what they take; the deadline is for those that never end.
    deadlines = Deadlines(start=20.0, reload=20.0, stop=3.0, answer=3.0, validate=20.0)
    return await FluentBit.find(Engine.EMBEDDED, EMBEDDED_COMMAND, environment=ENVIRONMENT, deadlines=deadlines)


@pytest.fixture
def state(data_dir: Path) -> Any:
    state = State(data_dir)
    state.open()
    yield state
    state.close()


MakeHost = Callable[..., Host]


@pytest.fixture
def make_host(state: State) -> MakeHost:
    """A host around these runtimes, which may differ in any other field too."""

    async def fetch(sha256: str) -> bytes:
        raise UnavailableError("there is no control plane in this test")

    def make(runtimes: Mapping[Engine, Runtime], **changes: Any) -> Host:
        fields: dict[str, Any] = {
            "state": state,
            "name": "node-1",
            "version": "0.1",
            "runtimes": runtimes,
            "policy": Policy(),
            "environment": ENVIRONMENT,
            "fetch": fetch,
            "applies": asyncio.Semaphore(2),
            "now": lambda: datetime.now(UTC),
            "clock": asyncio.get_running_loop().time,
            "roll": lambda: 0.0,
            "settle_s": 0.2,
            "check_s": 0.1,
        }
        return Host(**(fields | changes))

    return make


INFO = EngineInfo(engine=Engine.EMBEDDED, version="1", catalogue_sha256="c" * 64)
