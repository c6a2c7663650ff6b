"""The agent's end of the channel."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from agent.handler import Handler
from agent.host import Host
from agent.model import Identity, Target
from agent.reconciler import Reconciler
from agent.runtimes import child_log
from headrace.content import canonical, desired_of, sha256_of
from headrace.errors import ForbiddenError, UnauthenticatedError
from headrace.limits import Limits
from headrace.messages import Command, Complete, Remove, Secret, Secrets, Variables, Welcome
from headrace.types import AttemptState, CommandKind, Encoding, Engine, Facts, Observed, SecretReference
from tests.agent.conftest import MakeHost, blob, content
from tests.agent.fakes import FakeRuntime
from tests.processes import eventually

LIMITS = Limits(pipelines_per_agent=3)


class Bench:
    """A handler with all that is behind it; `uploaded` and `has_token` stand for the channel and a bootstrap token."""

    def __init__(self, host: Host, reconciler: Reconciler, runtime: FakeRuntime) -> None:
        self.host = host
        self.runtime = runtime
        self.reconciler = reconciler
        self.uploaded: dict[str, bytes] = {}
        self.has_token = False
        self.handler = Handler(
            host, reconciler, facts=lambda: Facts(name="n"), enrol=self._enrol, upload=self._upload, limits=LIMITS
        )

    def observed(self, pipeline: str) -> Observed:
        return self.handler.observed()[pipeline]

    async def until_good(self, pipeline: str) -> None:
        await eventually(lambda: self.observed(pipeline).good, timeout=10)

    async def _enrol(self) -> bool:
        return self.has_token

    async def _upload(self, sha256: str, data: bytes) -> None:
        self.uploaded[sha256] = data


@pytest.fixture
async def bench(make_host: MakeHost) -> AsyncIterator[Bench]:
    runtime = FakeRuntime()
    host = make_host({Engine.EMBEDDED: runtime})
    async with asyncio.TaskGroup() as group:
        reconciler = Reconciler(host, lambda pipeline: None)
        reconciler.start(group)
        try:
            yield Bench(host, reconciler, runtime)
        finally:
            await reconciler.shut_down()


async def test_what_is_desired_runs(bench: Bench) -> None:
    await bench.handler.on_desired(desired_of("p", 7, canonical(content())))
    assert bench.host.state.records["p"].desired == Target(7, sha256_of(canonical(content())))
    await bench.until_good("p")
    assert bench.observed("p").good == 7


@pytest.mark.parametrize("name", ["../x", "a/b", "", "A", "x" * 64, ".", "-x"])
async def test_a_name_that_cannot_be_is_refused_and_touches_no_folder(bench: Bench, name: str) -> None:
    await bench.handler.on_desired(desired_of(name, 1, canonical(content())))
    attempt = bench.observed(name).attempt
    assert attempt is not None
    assert attempt.state is AttemptState.FAILED
    assert list(bench.host.state.folder.glob("workloads/*")) == []
    assert list(bench.host.state.records) == []


async def test_a_payload_that_is_not_what_it_says_is_refused(bench: Bench) -> None:
    desired = desired_of("p", 1, canonical(content()))
    for broken in (
        replace(desired, sha256="0" * 64),
        replace(desired, encoding=Encoding.DEFLATE, payload=b"garbage"),
        replace(desired, size=1 << 40),
    ):
        await bench.handler.on_desired(broken)
        attempt = bench.observed("p").attempt
        assert attempt is not None
        assert attempt.quarantined
    await bench.handler.on_desired(desired)
    await bench.until_good("p")


async def test_so_many_pipelines_and_no_more(bench: Bench) -> None:
    for index in range(4):
        await bench.handler.on_desired(desired_of(f"p{index}", index + 1, canonical(content())))
    attempt = bench.observed("p3").attempt
    assert attempt is not None
    assert str(attempt.faults[0]) == "pipeline 'p3': this agent runs 3 pipelines, which is the limit"
    await bench.handler.on_desired(desired_of("p0", 9, canonical(content("b"))))
    await eventually(lambda: bench.observed("p0").good == 9)


async def test_a_removed_one_goes(bench: Bench) -> None:
    await bench.handler.on_desired(desired_of("p", 1, canonical(content())))
    await bench.handler.on_remove(Remove(pipeline="p", generation=2))
    await eventually(lambda: "p" not in bench.handler.observed())


async def test_the_plane_that_was_seen_is_kept_and_its_epoch_never_goes_back(bench: Bench) -> None:
    for instance, epoch, kept in (("i", 2, 2), ("i", 1, 2), ("i", 3, 3), ("j", 1, 1)):
        await bench.handler.on_welcome(Welcome(session_id="s", instance_id=instance, epoch=epoch))
        assert (bench.handler.plane().instance_id, bench.handler.plane().epoch) == (instance, kept)


async def test_variables_reach_what_uses_them(bench: Bench) -> None:
    text = content().config.replace("rate: 50", "rate: ${RATE}")
    await bench.handler.on_desired(desired_of("p", 1, canonical(content(text=text))))
    await eventually(lambda: (attempt := bench.observed("p").attempt) and attempt.quarantined)
    await bench.handler.on_variables(Variables(labels={"a": "b"}, values={"RATE": "3"}))
    assert bench.host.state.plane.values == {"RATE": "3"}
    await bench.until_good("p")


def with_secret(mark: str = "a", fault: str = "") -> bytes:
    """A content that uses a secret."""
    text = content(mark, fault).config.replace("rate: 50", "rate: ${RATE}")
    return canonical(replace(content(text=text), secrets=(SecretReference(name="rate", env="RATE"),)))


def secret(value: str, version: int = 1) -> Secrets:
    return Secrets(secrets=(Secret(name="rate", version=version, value=value.encode()),))


async def test_a_secret_that_comes_late_is_waited_for_and_a_newer_one_is_applied(bench: Bench) -> None:
    await bench.handler.on_desired(desired_of("p", 1, with_secret()))
    await eventually(lambda: (attempt := bench.observed("p").attempt) and attempt.state is AttemptState.FAILED)
    attempt = bench.observed("p").attempt
    assert attempt is not None
    assert not attempt.quarantined
    assert attempt.retry_at is not None
    assert str(attempt.faults[0]).startswith("secret 'rate' has not come from the control plane yet")

    await bench.handler.on_secrets(secret("4200"))
    await bench.until_good("p")
    (first,) = bench.runtime.alive
    assert first.launch.environment["RATE"] == "4200"
    assert "4200" not in first.launch.config.read_text()

    await bench.handler.on_secrets(secret("4200"))  # repeated, and no news
    await bench.handler.on_secrets(secret("9900", 2))
    await eventually(lambda: [each.launch.environment["RATE"] for each in bench.runtime.alive] == ["9900"])
    assert not first.alive
    assert first.reloads == 0  # a reload has the environment of before
    assert bench.observed("p").desired == 1


async def test_with_the_workload_its_secrets_are_erased(bench: Bench) -> None:
    await bench.handler.on_secrets(secret("4200"))
    await bench.handler.on_desired(desired_of("p", 1, with_secret()))
    await bench.until_good("p")
    await bench.handler.on_secrets(Secrets())
    assert bench.host.state.secrets.held  # what runs may need it again
    await bench.handler.on_remove(Remove(pipeline="p", generation=2))
    await eventually(lambda: "p" not in bench.handler.observed())
    assert not bench.host.state.secrets.held
    assert list(bench.host.state.folder.glob("secrets*")) == []


async def test_no_fault_and_no_log_shows_a_secret(bench: Bench) -> None:
    # The stand-in names its mark in every fault, and that is the secret here.
    await bench.handler.on_secrets(secret("kingfisher"))
    await bench.handler.on_desired(desired_of("p", 1, with_secret("kingfisher", "invalid")))
    await eventually(lambda: (attempt := bench.observed("p").attempt) and attempt.quarantined)
    attempt = bench.observed("p").attempt
    assert attempt is not None
    assert str(attempt.faults[0]) == "***: invalid"
    assert "kingfisher" not in (bench.host.state.folder / "records/p.json").read_text()
    await bench.handler.on_secrets(secret("a dipper", 2))
    path = bench.host.folder("p").log
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("with kingfisher before, with a dipper now\n")
    answer = await bench.handler.on_command(Command(id="c", kind=CommandKind.LOGS, pipeline="p"))
    assert answer.output == b"with *** before, with *** now\n"


async def test_commands_are_answered(bench: Bench) -> None:
    await bench.handler.on_desired(desired_of("p", 1, canonical(content())))
    await bench.until_good("p")
    for kind in (CommandKind.RESTART, CommandKind.RETRY):
        answer = await bench.handler.on_command(Command(id="c", kind=kind, pipeline="p"))
        assert (answer.command_id, answer.ok) == ("c", True)
        answer = await bench.handler.on_command(Command(id="d", kind=kind, pipeline="q"))
        assert (answer.command_id, answer.ok) == ("d", False)
        assert answer.message == "this agent has no pipeline 'q'"


async def test_the_last_lines_of_a_log_are_sent(bench: Bench) -> None:
    await bench.handler.on_desired(desired_of("p", 1, canonical(content())))
    await bench.until_good("p")
    path = bench.host.folder("p").log
    path.write_text("".join(f"{number}\n" for number in range(1000)))
    answer = await bench.handler.on_command(Command(id="c", kind=CommandKind.LOGS, pipeline="p", lines=2))
    assert answer.output == b"998\n999\n"
    answer = await bench.handler.on_command(Command(id="c", kind=CommandKind.LOGS, pipeline="p"))
    assert answer.output.count(b"\n") == 100
    path.write_bytes(b"x" * child_log.MAX_READ)
    answer = await bench.handler.on_command(Command(id="c", kind=CommandKind.LOGS, pipeline="p", lines=9))
    assert len(answer.output) <= 512 << 10


async def test_contents_and_catalogues_are_uploaded(bench: Bench) -> None:
    sha256, data = blob(content())
    await bench.handler.on_desired(desired_of("p", 1, data))
    for wanted, expected in ((sha256, data), ("c" * 64, b"{}")):
        answer = await bench.handler.on_command(Command(id="c", kind=CommandKind.UPLOAD, sha256=wanted))
        assert answer.ok
        assert bench.uploaded[wanted] == expected
    answer = await bench.handler.on_command(Command(id="c", kind=CommandKind.UPLOAD, sha256="f" * 64))
    assert not answer.ok


async def test_a_refused_identity_is_renewed_only_if_it_is_unknown_and_a_token_is_there(bench: Bench) -> None:
    bench.host.state.save_identity(Identity(agent_id="a", credential="c"))
    assert bench.handler.identity().agent_id == "a"
    assert not await bench.handler.on_refused(UnauthenticatedError("expired"))
    bench.has_token = True
    assert await bench.handler.on_refused(UnauthenticatedError("expired"))
    assert not await bench.handler.on_refused(ForbiddenError("revoked"))


async def test_a_secret_that_nothing_needs_is_no_error(bench: Bench) -> None:
    await bench.handler.on_secrets(Secrets(secrets=(Secret(name="s", version=1, value=b"v"),)))
    await bench.handler.on_complete(Complete(fleet_revision=3))
    assert bench.handler.facts() == Facts(name="n")
