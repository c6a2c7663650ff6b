"""A control plane in this process, on real loopback doors and a real store, and agents that only pretend."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from controlplane.app import Running, control_plane, opened
from controlplane.catalogue import Catalogues
from controlplane.changes import Changes, follow
from controlplane.fleet import Fleet
from controlplane.fleet.lifecycle import Timings
from controlplane.identity import Authority, Claims, Enrolment, Tokens
from controlplane.model import EventRow
from controlplane.secrets import Secrets
from controlplane.settings import Door, Settings
from controlplane.state.store import Store
from controlplane.view import View
from headrace import api
from headrace.api import Manifest
from headrace.keyring import KeyFile
from headrace.management import ManagementClient
from headrace.messages import EnrollRequest, EnrollResponse
from headrace.security import ClientTls
from headrace.testing import FakeAgent
from headrace.types import Facts
from tests.conftest import Clock

CONFIG = """
pipeline:
  inputs:
    - name: dummy
      tag: {tag}
  outputs:
    - name: 'null'
      match: '*'
"""


def manifest(name: str = "edge", selector: str = "*", *, tag: str = "t", **more: Any) -> Manifest:
    """A pipeline that is valid; another tag makes another content."""
    return Manifest(name=name, selector=selector, config=CONFIG.replace("{tag}", tag), **more)


class Plane:
    """A control plane that runs, and a client of it."""

    def __init__(self, running: Running, client: ManagementClient, trust: ClientTls | None = None) -> None:
        self.running = running
        self.client = client
        self.trust = trust

    async def token(self, *, uses: int = 100, **labels: str) -> str:
        """A bootstrap token."""
        return (await self.client.create_token(ttl_seconds=600, max_uses=uses, labels=labels)).secret

    async def agent(self, token: str = "", **options: Any) -> FakeAgent:
        """An agent that is yet to be entered."""
        labels = options.pop("labels", {})
        name = options.pop("name", "fake")
        facts = Facts(name=name, version="0", labels=labels, capabilities=("secrets",))
        token = token or await self.token()
        return FakeAgent(self.running.ready.channel, token=token, facts=facts, tls=self.trust, **options)

    async def events(self, kind: str = "") -> list[Any]:
        """Newest first."""
        return [event for event in await self.client.list_events() if not kind or event.kind == kind]


Start = Callable[..., AbstractAsyncContextManager[Plane]]


@pytest.fixture
def start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Start:
    """Starts a control plane: `async with start(data="d", state=url) as plane`; one with TLS is known by `trust`."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "xdg"))

    @asynccontextmanager
    async def started(
        *, data: str = "d", channel: str = "127.0.0.1:0", trust: ClientTls | None = None, **options: Any
    ) -> AsyncIterator[Plane]:
        options.setdefault("drain_s", 0.0)
        options.setdefault("http", Door(address="127.0.0.1:0"))
        settings = Settings(
            data_dir=tmp_path / data,
            grpc=Door(address="127.0.0.1:0"),
            channel=Door(address=channel),
            **options,
        )
        async with control_plane(settings) as running:
            async with ManagementClient(running.ready.grpc, running.token, tls=trust) as client:
                yield Plane(running, client, trust)

    return started


def quick(gone: float = 60.0) -> dict[str, Any]:
    """Settings under which silence means something soon."""
    return {"heartbeat_s": 0.1, "timings": Timings(suspect=0.3, lost=0.5, gone=gone)}


class Rules:
    """The rules over a real SQLite store, without doors or loops; time stands still until it is moved."""

    def __init__(self, store: Store, clock: Clock, folder: Path) -> None:
        self.store = store
        self.view = View()
        self.clock = clock
        self.changes = Changes(store)
        self.catalogues = Catalogues(store=store)
        self.keys = KeyFile(folder / "secrets.key")
        self.secrets = Secrets(store=store, view=self.view, keys=self.keys, clock=clock.now)
        self.fleet = Fleet.over(
            store=store,
            view=self.view,
            changes=self.changes,
            catalogues=self.catalogues,
            secrets=self.secrets,
            clock=clock.now,
            monotonic=clock,
        )
        self.tokens = Tokens(store=store, clock=clock.now)
        self.enrolment = Enrolment(store=store, clock=clock.now)
        self.authority = Authority(store=store, view=self.view)
        self.claims = Claims(store=store, replica="r-1", lease_s=100, clock=clock.now)

    async def follow(self) -> None:
        """Brings the view up to date."""
        async with self.store.read() as reader:
            await follow(self.view, reader)

    async def enroll(self, name: str = "a", **labels: str) -> EnrollResponse:
        """An agent with these claimed labels."""
        token = await self.tokens.create(api.CreateTokenRequest(ttl_seconds=60), author="test")
        request = EnrollRequest(token=token.secret, facts=Facts(name=name, labels=labels, capabilities=("secrets",)))
        return await self.enrolment.enroll(request, peer="test")

    async def apply(self, *manifests: Manifest, **more: Any) -> list[api.Change]:
        """Applies them; the changes."""
        request = api.ApplyPipelinesRequest(manifests=manifests, **more)
        return list((await self.fleet.pipelines.apply(request, author="ann")).changes)

    async def events(self) -> list[EventRow]:
        """Oldest first."""
        async with self.store.read() as reader:
            return await reader.scan(EventRow)


@pytest.fixture
async def rules(tmp_path: Path, clock: Clock) -> AsyncIterator[Rules]:
    async with opened(f"sqlite:///{tmp_path / 'rules.db'}") as store:
        rules = Rules(store, clock, tmp_path)
        await rules.follow()
        yield rules
