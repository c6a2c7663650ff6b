"""Content: one byte string and one hash on both ends, and nothing that was announced differently gets through."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace import content
from headrace.api import Manifest
from headrace.content import Content
from headrace.errors import LimitError, ProtocolError
from headrace.limits import Limits
from headrace.messages import Desired
from headrace.types import Encoding, Engine, File, SecretReference

TEXT = st.text(st.characters(codec="utf-8"), max_size=30)
CONTENTS = st.builds(
    Content,
    engine=st.sampled_from(Engine),
    config=TEXT,
    files=st.dictionaries(TEXT, st.binary(max_size=30), max_size=3).map(
        lambda files: tuple(File(name=name, content=data) for name, data in sorted(files.items()))
    ),
    secrets=st.dictionaries(TEXT, TEXT, max_size=3).map(
        lambda names: tuple(SecretReference(env=env, name=name) for env, name in sorted(names.items()))
    ),
)
LIMITS = Limits(pipeline=4_000, inline=500, inflation=8)
NGINX = Content(
    engine=Engine.AUTO,
    config="[INPUT]\n    Name tail\n",
    files=(File(name="parsers.conf", content=b"[PARSER]\n"),),
    secrets=(SecretReference(name="s3", env="S3_KEY"),),
)


@given(CONTENTS)
def test_canonical_bytes_give_the_content_back(value: Content) -> None:
    assert content.parse(content.canonical(value)) == value


def test_the_order_of_files_and_secrets_does_not_change_the_bytes() -> None:
    files = (File(name="b", content=b"2"), File(name="a", content=b"1"))
    secrets = (SecretReference(name="y", env="Y"), SecretReference(name="x", env="X"))
    one = Content(engine=Engine.AUTO, config="", files=files, secrets=secrets)
    other = Content(engine=Engine.AUTO, config="", files=files[::-1], secrets=secrets[::-1])
    assert content.canonical(one) == content.canonical(other)


def test_the_canonical_bytes_and_hash_are_the_same_in_every_release() -> None:
    data = content.canonical(NGINX)
    assert data == (
        b'{"config":"[INPUT]\\n    Name tail\\n","engine":"auto","files":{"parsers.conf":"W1BBUlNFUl0K"},'
        b'"form":1,"secrets":{"S3_KEY":"s3"}}'
    )
    assert content.sha256_of(data) == hashlib.sha256(data).hexdigest()


def test_only_what_reaches_an_engine_is_content() -> None:
    manifest = Manifest(name="web", selector="role=edge", config=NGINX.config, files=NGINX.files, secrets=NGINX.secrets)
    elsewhere = dataclasses.replace(
        manifest, name="api", selector="*", labels={"team": "web"}, description="the same for others"
    )
    assert content.content_of(manifest) == content.content_of(elsewhere) == NGINX
    assert content.content_of(dataclasses.replace(manifest, engine=Engine.EMBEDDED)) != NGINX


@given(CONTENTS, st.integers(0, 2**63))
def test_what_is_packed_is_unpacked(value: Content, generation: int) -> None:
    data = content.canonical(value)
    desired = content.desired_of("web", generation, data)
    assert (desired.generation, desired.size) == (generation, len(data))
    assert content.unpack(desired) == data


def test_a_payload_is_deflated_only_where_that_makes_it_smaller() -> None:
    assert content.desired_of("web", 1, b"x" * 50 + b"y" * 50).encoding is Encoding.DEFLATE
    assert content.desired_of("web", 1, bytes(range(100))).encoding is Encoding.IDENTITY


def test_a_payload_that_would_inflate_past_the_bound_travels_as_it_is() -> None:
    data = b"x" * 3_000
    desired = content.desired_of("web", 1, data, Limits(pipeline=4_000))
    assert desired.encoding is Encoding.IDENTITY
    assert content.unpack(desired, Limits(pipeline=4_000)) == data


def test_a_large_content_has_no_payload() -> None:
    data = hashlib.shake_128(b"noise").digest(600)
    desired = content.desired_of("web", 1, data, LIMITS)
    assert (desired.payload, desired.size, desired.sha256) == (b"", 600, content.sha256_of(data))


def test_a_deflation_bomb_is_cut_at_the_bound() -> None:
    data = b"\0" * 3_000
    bomb = Desired(
        pipeline="web",
        generation=1,
        sha256=content.sha256_of(data),
        encoding=Encoding.DEFLATE,
        size=len(data),
        payload=zlib.compress(data),
    )
    with pytest.raises(LimitError, match=rf"pipeline 'web': payload inflates past {8 * len(bomb.payload)} bytes"):
        content.unpack(bomb, LIMITS)


def test_a_content_over_the_limit_is_refused_before_it_is_looked_at() -> None:
    desired = Desired(pipeline="web", generation=1, sha256="", size=4_001, payload=b"x")
    with pytest.raises(LimitError, match="4001 bytes, the limit is 4000"):
        content.unpack(desired, LIMITS)


@pytest.mark.parametrize("encoding", Encoding)
def test_a_payload_longer_than_it_announces_is_refused(encoding: Encoding) -> None:
    data = hashlib.shake_128(b"noise").digest(4_100)
    payload = zlib.compress(data) if encoding is Encoding.DEFLATE else data
    desired = Desired(
        pipeline="web", generation=1, sha256=content.sha256_of(data), encoding=encoding, size=10, payload=payload
    )
    with pytest.raises((LimitError, ProtocolError), match=r"inflates past 10 bytes|4100 bytes, 10 were announced"):
        content.unpack(desired, LIMITS)


def test_a_payload_with_another_hash_or_size_is_refused() -> None:
    desired = content.desired_of("web", 7, b"x" * 50 + b"y" * 50)
    with pytest.raises(
        ProtocolError, match=r"pipeline 'web' generation 7: content has sha256 \w{12}, 000000000000 was"
    ):
        content.unpack(dataclasses.replace(desired, sha256="0" * 64))
    with pytest.raises(ProtocolError, match="100 bytes, 101 were announced"):
        content.unpack(dataclasses.replace(desired, size=101))


@given(st.binary(max_size=100))
def test_a_payload_that_is_not_deflated_is_refused(payload: bytes) -> None:
    desired = Desired(pipeline="web", generation=1, sha256="0" * 64, encoding=Encoding.DEFLATE, payload=payload)
    with pytest.raises((ProtocolError, LimitError)):
        content.unpack(desired)


def test_a_deflated_payload_that_was_cut_off_is_refused() -> None:
    desired = content.desired_of("web", 1, content.canonical(NGINX) * 3)
    with pytest.raises(ProtocolError):
        content.unpack(dataclasses.replace(desired, payload=desired.payload[:-15]))


@given(st.binary(max_size=60) | st.sampled_from([b"null", b"[]", b'"x"', b"1", b"{}", b'{"form":1}', b"[" * 100_000]))
def test_bytes_that_are_no_content_are_a_protocol_error(data: bytes) -> None:
    with pytest.raises(ProtocolError, match="content"):
        content.parse(data)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"form": 2}, "has form 2, this version reads 1; upgrade this side"),
        ({"engine": "vector"}, "not in canonical form"),
        ({"config": 7}, "not in canonical form"),
        ({"files": {"a": "~"}}, "not in canonical form"),
        ({"files": ["a"]}, "not in canonical form"),
        ({"files": {"a": 1}}, "not in canonical form"),
        ({"secrets": {"A": 1}}, "not in canonical form"),
        ({"more": 1}, "other canonical bytes"),
    ],
)
def test_each_part_of_a_content_has_its_type(change: dict[str, object], says: str) -> None:
    document = json.loads(content.canonical(NGINX)) | change
    data = json.dumps(document, sort_keys=True, separators=(",", ":")).encode()
    with pytest.raises(ProtocolError, match=says):
        content.parse(data)
