"""Who is told of a secret, on the real channel: agents that should run what names it, and nobody else."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from headrace.api import Manifest
from headrace.errors import ConflictError
from headrace.testing import FakeAgent
from headrace.types import SecretReference
from tests.controlplane.conftest import Start, manifest


def naming(*secrets: str, name: str = "edge", selector: str = "role=edge") -> Manifest:
    references = tuple(SecretReference(name=secret, env=secret.upper()) for secret in secrets)
    return replace(manifest(name, selector), secrets=references)


def held(agent: FakeAgent) -> dict[str, bytes]:
    return {secret.name: secret.value for secret in agent.secrets.secrets}


async def test_an_agent_is_told_of_what_its_pipelines_name_and_of_nothing_else(start: Start) -> None:
    async with start() as plane:
        await plane.client.set_secret("api", b"kingfisher-41")
        await plane.client.set_secret("db", b"dipper-42")
        async with await plane.agent(name="a", labels={"role": "edge"}) as a, await plane.agent(name="b") as b:
            await plane.client.apply_pipelines([naming("api"), manifest("all")])
            await a.until(lambda a: "edge" in a.contents)
            # It is there before what needs it.
            assert held(a) == {"api": b"kingfisher-41"}
            await plane.client.apply_pipelines([naming("api", "db")])
            await a.until(lambda a: held(a) == {"api": b"kingfisher-41", "db": b"dipper-42"})
            await plane.client.set_secret("db", b"wagtail-43")
            await a.until(lambda a: held(a)["db"] == b"wagtail-43")
            assert [secret.version for secret in a.secrets.secrets] == [1, 2]
            await b.until(lambda b: "all" in b.contents)
            assert held(b) == {}

            # What an agent should not run any more it need not know.
            await plane.client.set_labels("b", set={"role": "edge"})
            await b.until(lambda b: len(held(b)) == 2)
            await plane.client.set_labels("b", unset=["role"], confirm=1)
            await b.until(lambda b: held(b) == {})
            await plane.client.delete_pipelines(["edge"], confirm=2)
            await a.until(lambda a: held(a) == {})


async def test_an_agent_that_comes_back_is_told_again(start: Start) -> None:
    async with start() as plane:
        await plane.client.set_secret("api", b"kingfisher-41")
        await plane.client.apply_pipelines([naming("api", selector="*")])
        async with await plane.agent(name="a") as agent:
            await agent.until(lambda a: held(a) == {"api": b"kingfisher-41"})
            identity = agent.identity()
        await plane.client.set_secret("api", b"dipper-42")
        async with FakeAgent(plane.running.ready.channel, identity=identity) as agent:
            await agent.until(lambda a: held(a) == {"api": b"dipper-42"})


async def test_two_replicas_with_one_key_file_tell_the_same(start: Start, postgres_url: str, tmp_path: Path) -> None:
    key = tmp_path / "key"
    async with (
        start(data="one", state=postgres_url, secrets_key=key) as one,
        start(data="two", state=postgres_url, secrets_key=key) as two,
        start(data="three", state=postgres_url) as three,
    ):
        async with await two.agent(name="b") as b:
            await one.client.set_secret("api", b"kingfisher-41")
            await one.client.apply_pipelines([naming("api", selector="*")])
            await b.until(lambda b: held(b) == {"api": b"kingfisher-41"})
            await two.client.set_secret("api", b"dipper-42")
            await b.until(lambda b: held(b) == {"api": b"dipper-42"})
        # A third one that was started without it says so, and does no harm.
        (listed,) = await three.client.list_secrets()
        assert "there is no key file" in listed.problem
        with pytest.raises(ConflictError, match="All replicas need the same one"):
            await three.client.set_secret("api", b"wagtail-43")
        async with await three.agent(name="c") as c:
            await c.until(lambda c: "edge" in c.contents)
            assert held(c) == {}
