"""The rules of secrets, on every store: what comes in, what is kept of it, and what is said."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from controlplane.app import opened
from controlplane.model import SecretRow
from controlplane.state.store import Store
from headrace import api
from headrace.api import Manifest
from headrace.codec import decode_server
from headrace.errors import ConflictError, InvalidError, LimitError, NotFoundError
from headrace.messages import Secret, Secrets
from headrace.types import SecretReference
from tests.conftest import Clock
from tests.controlplane.conftest import Rules, manifest

VALUE, NEWER = b"kingfisher-41", b"dipper-42"


@pytest.fixture(params=["sqlite", "postgres"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Store]:
    url = f"sqlite:///{tmp_path}/s.db" if request.param == "sqlite" else request.getfixturevalue("postgres_url")
    async with opened(url) as store:
        yield store


@pytest.fixture
async def rules(store: Store, clock: Clock, tmp_path: Path) -> Rules:
    rules = Rules(store, clock, tmp_path)
    await rules.follow()
    return rules


async def set_(rules: Rules, value: bytes = VALUE, name: str = "api") -> api.SetSecretResponse:
    return await rules.secrets.set(api.SetSecretRequest(name=name, value=value), author="ann")


def naming(name: str = "edge", *secrets: str, **more: Any) -> Manifest:
    references = tuple(SecretReference(name=secret, env=secret.upper()) for secret in secrets or ("api",))
    return replace(manifest(name, **more), secrets=references)


def told(rules: Rules, *names: str) -> dict[str, tuple[int, bytes]]:
    """What an agent would be told, by name."""
    message = decode_server(rules.secrets.message(names))
    assert isinstance(message, Secrets)
    return {secret.name: (secret.version, secret.value) for secret in message.secrets}


async def test_a_value_goes_in_and_comes_out_for_agents_alone(rules: Rules) -> None:
    made = await set_(rules)
    await rules.follow()
    assert (made.changed, made.secret.version, made.secret.author) == (True, 1, "ann")
    assert told(rules, "api") == {"api": (1, VALUE)}
    async with rules.store.read() as reader:
        (row,) = await reader.find(SecretRow)
    assert VALUE not in row.value
    assert VALUE.decode() not in repr((row, await rules.secrets.list(), await rules.events()))
    assert VALUE.decode() not in repr(
        (api.SetSecretRequest(name="api", value=VALUE), Secret(name="", version=1, value=VALUE))
    )
    assert b"".join([piece async for piece in rules.store.dump()]).find(VALUE) == -1


async def test_another_value_is_another_version_and_the_same_one_is_none(rules: Rules) -> None:
    await set_(rules)
    same = await set_(rules)
    assert (same.changed, same.secret.version) == (False, 1)
    newer = await set_(rules, NEWER)
    assert (newer.changed, newer.secret.version) == (True, 2)
    assert told(rules, "api") == {"api": (1, VALUE)}  # until the view has seen it
    await rules.follow()
    assert told(rules, "api") == {"api": (2, NEWER)}
    assert [event.kind for event in await rules.events()] == ["secret.set", "secret.set"]
    assert {event.actor for event in await rules.events()} == {"ann"}


async def test_versions_count_on_over_a_deletion(rules: Rules) -> None:
    await set_(rules)
    await rules.secrets.delete("api", author="ann")
    await rules.follow()
    assert await rules.secrets.list() == ()
    assert told(rules, "api") == {}
    async with rules.store.read() as reader:
        assert [row.value for row in await reader.find(SecretRow)] == [b""]
    assert (await set_(rules)).secret.version == 2
    with pytest.raises(NotFoundError, match="there is no secret 'apu'; did you mean 'api'"):
        await rules.secrets.delete("apu", author="ann")


async def test_a_secret_in_use_is_not_deleted(rules: Rules) -> None:
    await set_(rules)
    await rules.apply(naming())
    with pytest.raises(ConflictError, match="secret 'api' is in use by pipeline 'edge'"):
        await rules.secrets.delete("api", author="ann")
    assert (await rules.secrets.list())[0].pipelines == ("edge",)
    await rules.fleet.pipelines.delete(api.DeletePipelinesRequest(names=("edge",)), author="ann")
    await rules.secrets.delete("api", author="ann")


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("API", VALUE, "secret name 'API' must be .* did you mean 'api'"),
        ("api", b"", "has 0 characters"),
        ("api", b"abc", "so short a one, of fewer than 4"),
        ("api", b"\xff\xfe\xfd\xfc", "is not UTF-8 text; encode it"),
        ("api", b"hid\0den!", "has a NUL character"),
    ],
)
async def test_what_no_engine_can_be_given_is_refused_and_not_repeated(
    rules: Rules, name: str, value: bytes, message: str
) -> None:
    with pytest.raises(InvalidError, match=message) as refusal:
        await set_(rules, value, name)
    assert "hid" not in str(refusal.value)
    assert await rules.events() == []


async def test_a_value_that_is_too_long_is_refused_by_its_size(rules: Rules) -> None:
    await set_(rules, b"x" * (32 << 10))
    with pytest.raises(LimitError, match="its value has 32769 bytes, the limit is 32768"):
        await set_(rules, b"x" * ((32 << 10) + 1))


async def test_all_are_encrypted_anew_when_the_key_is_another(rules: Rules) -> None:
    await set_(rules)
    await set_(rules, NEWER, "db")
    old = rules.keys.path.read_text()
    rules.keys.path.write_text(base64.b64encode(bytes(32)).decode() + "\n" + old)
    assert await rules.secrets.rekey(author="ann") == 2
    assert await rules.secrets.rekey(author="ann") == 0
    rules.keys.path.write_text(base64.b64encode(bytes(32)).decode() + "\n")
    await rules.follow()
    assert told(rules, "api", "db") == {"api": (1, VALUE), "db": (1, NEWER)}
    assert [event.kind for event in await rules.events()][-1] == "secret.rekeyed"


async def test_a_plane_without_the_key_says_which_one_and_makes_no_other(rules: Rules, tmp_path: Path) -> None:
    await set_(rules)
    ring = rules.keys.ring()
    assert ring is not None
    (tmp_path / "two").mkdir()
    other = Rules(rules.store, rules.clock, tmp_path / "two")  # another replica on the same store
    await other.follow()
    (listed,) = await other.secrets.list()
    assert listed.problem == other.secrets.problem("api")
    assert f"secret 'api' cannot be decrypted here: there is no key file {other.keys.path}" in listed.problem
    assert f"bring the key file that has key {ring.key_id} (--secrets-key)" in listed.problem
    assert told(other, "api") == {}
    for action in (set_(other, NEWER), other.secrets.rekey(author="ann")):
        with pytest.raises(ConflictError, match=f"encrypted with key {ring.key_id}; .*All replicas need the same one"):
            await action
    assert not other.keys.path.exists()
    with pytest.raises(InvalidError, match="secret 'api' cannot be decrypted here"):
        await other.apply(naming())

    # Somebody who has lost it for good begins anew with a key of their own.
    other.keys.path.touch(0o600)
    other.keys.path.write_text(base64.b64encode(bytes(32)).decode())
    with pytest.raises(ConflictError, match=r"1 secret cannot be decrypted .*'api'; bring the key they have"):
        await other.secrets.rekey(author="ann")
    assert (await set_(other, VALUE)).secret.version == 2
    await other.follow()
    assert told(other, "api") == {"api": (2, VALUE)}


async def test_a_backup_has_them_encrypted_and_is_of_no_use_without_the_key(
    rules: Rules, clock: Clock, tmp_path: Path
) -> None:
    await set_(rules)
    dump = [piece async for piece in rules.store.dump()]
    (tmp_path / "other").mkdir()
    async with opened(f"sqlite:///{tmp_path}/other/s.db") as store:
        await store.load(dump)
        other = Rules(store, clock, tmp_path / "other")
        await other.follow()
        assert "cannot be decrypted here" in other.secrets.problem("api")
        other.keys.path.write_bytes(rules.keys.path.read_bytes())
        other.keys.path.chmod(0o600)
        assert other.secrets.problem("api") == ""
        assert told(other, "api") == {"api": (1, VALUE)}


@pytest.mark.parametrize(
    ("references", "message"),
    [
        ([("apu", "X")], "secret 'apu' does not exist; did you mean 'api'"),
        ([("a b", "X")], "secret name 'a b' must be"),
        ([("api", "LD_PRELOAD")], "would change the engine itself"),
        ([("api", "HEADRACE_X")], "names that begin with HEADRACE_ are the agent's own"),
        ([("api", "PATH")], "'PATH' is what agents pass on from their own environment"),
        ([("api", "1X")], "must be letters, digits and '_'"),
        ([("api", "X"), ("api", "X")], "variable 'X' carries 2 secrets"),
        ([("api", f"X{n}") for n in range(101)], "it refers to 101 secrets, the limit is 100"),
    ],
)
async def test_a_reference_that_cannot_work_is_refused_by_name(
    rules: Rules, references: list[tuple[str, str]], message: str
) -> None:
    await set_(rules)
    secrets = tuple(SecretReference(name=name, env=env) for name, env in references)
    with pytest.raises(InvalidError) as refusal:
        await rules.apply(replace(manifest(), secrets=secrets))
    assert any(message in fault.message for fault in refusal.value.faults)


async def test_a_variable_that_carries_a_secret_is_not_missing(rules: Rules) -> None:
    await rules.enroll("a")
    await rules.follow()
    await set_(rules)
    with pytest.raises(InvalidError, match="variable 'API' is not set"):
        await rules.apply(manifest(tag="${API}"))
    (change,) = await rules.apply(naming(tag="${API}"))
    before = (change.generation, rules.view.pipelines["edge"].row.sha256 if "edge" in rules.view.pipelines else "")
    await set_(rules, NEWER)
    await rules.follow()
    assert rules.view.pipelines["edge"].row.generation == before[0]


async def test_a_secret_that_goes_while_a_pipeline_is_judged_is_noticed(
    rules: Rules, monkeypatch: pytest.MonkeyPatch
) -> None:
    await set_(rules)
    check: Callable[..., Any] = rules.fleet.pipelines._validation.check
    judged = []

    async def check_and_lose(*args: Any, **more: Any) -> Any:
        judgement = await check(*args, **more)
        if not judged:
            await rules.secrets.delete("api", author="bob")
        judged.append(judgement)
        return judgement

    monkeypatch.setattr(rules.fleet.pipelines._validation, "check", check_and_lose)
    with pytest.raises(InvalidError, match="secret 'api' does not exist"):
        await rules.apply(naming())
    assert len(judged) == 2
