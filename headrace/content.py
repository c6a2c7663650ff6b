"""Content: what reaches an engine, its canonical bytes, and the hash by which everybody names it.

The canonical bytes are JSON with sorted keys and no white space, UTF-8, files in base64 and in order of their names.
They are what is hashed, stored, sent and checked, so both ends agree whatever the version of any library. Pure.
"""

from __future__ import annotations

import base64
import hashlib
import json
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from headrace.errors import LimitError, ProtocolError
from headrace.limits import DEFAULT_LIMITS, Limits
from headrace.messages import Desired
from headrace.types import Encoding, Engine, File, SecretReference

if TYPE_CHECKING:
    from headrace.api import Manifest  # an agent has no use for it

_FORM = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Content:
    """Engine, configuration text, files beside it, and the secrets that it names."""

    engine: Engine
    config: str
    files: tuple[File, ...] = ()
    secrets: tuple[SecretReference, ...] = ()


def content_of(manifest: Manifest) -> Content:
    """The part of a manifest that reaches an engine; labels, description and selector do not."""
    return Content(engine=manifest.engine, config=manifest.config, files=manifest.files, secrets=manifest.secrets)


def canonical(content: Content) -> bytes:
    """The one byte string that stands for this content."""
    document = {
        "form": _FORM,
        "engine": content.engine.value,
        "config": content.config,
        "files": {file.name: base64.b64encode(file.content).decode() for file in content.files},
        "secrets": {reference.env: reference.name for reference in content.secrets},
    }
    return json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def parse(data: bytes) -> Content:
    """The content that canonical bytes stand for; raises ProtocolError for any others."""
    try:
        document: dict[str, Any] = json.loads(data)
        if document["form"] != _FORM:
            raise ProtocolError(f"content has form {document['form']!r}, this version reads {_FORM}; upgrade this side")
        content = Content(
            engine=Engine(document["engine"]),
            config=_text(document["config"]),
            files=tuple(
                File(name=name, content=base64.b64decode(text)) for name, text in sorted(document["files"].items())
            ),
            secrets=tuple(
                SecretReference(name=_text(name), env=env) for env, name in sorted(document["secrets"].items())
            ),
        )
        if canonical(content) != data:
            raise ValueError("the same content has other canonical bytes")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ProtocolError(f"content is not in canonical form: {error!r}") from error
    return content


def secret_names(data: bytes) -> frozenset[str]:
    """The secrets that canonical bytes name, without taking the rest apart where there are none."""
    if data.endswith(b'"secrets":{}}'):
        return frozenset()
    return frozenset(reference.name for reference in parse(data).secrets)


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"expected text, got {value!r}")
    return value


def sha256_of(data: bytes) -> str:
    """Lower-case hex."""
    return hashlib.sha256(data).hexdigest()


def desired_of(pipeline: str, generation: int, data: bytes, limits: Limits = DEFAULT_LIMITS) -> Desired:
    """The message that carries canonical bytes: deflated where that pays, without a payload where it is large."""
    deflated = zlib.compress(data, 6)
    # A payload that inflates past the bound would be refused at the other end, so it travels as it is.
    small = len(deflated) < len(data) <= len(deflated) * limits.inflation
    encoding, payload = (Encoding.DEFLATE, deflated) if small else (Encoding.IDENTITY, data)
    return Desired(
        pipeline=pipeline,
        generation=generation,
        sha256=sha256_of(data),
        encoding=encoding,
        size=len(data),
        payload=payload if len(payload) <= limits.inline else b"",
    )


def unpack(desired: Desired, limits: Limits = DEFAULT_LIMITS) -> bytes:
    """The canonical bytes of a message with a payload, checked against its size, hash and the limits.

    Raises LimitError and ProtocolError; never holds more than the limit in memory.
    """
    if desired.size > limits.pipeline:
        raise LimitError(f"pipeline {desired.pipeline!r}: {desired.size} bytes, the limit is {limits.pipeline}")
    data = desired.payload
    if desired.encoding is Encoding.DEFLATE:
        bound = min(desired.size, limits.inflation * len(desired.payload))
        try:
            data = zlib.decompressobj().decompress(desired.payload, bound + 1)
        except zlib.error as error:
            raise ProtocolError(f"pipeline {desired.pipeline!r}: payload is not deflated data: {error}") from error
        if len(data) > bound:
            raise LimitError(f"pipeline {desired.pipeline!r}: payload inflates past {bound} bytes")
    if len(data) != desired.size:
        raise ProtocolError(f"pipeline {desired.pipeline!r}: {len(data)} bytes, {desired.size} were announced")
    check(data, sha256=desired.sha256, what=f"pipeline {desired.pipeline!r} generation {desired.generation}")
    return data


def check(data: bytes, *, sha256: str, what: str) -> None:
    """Raises ProtocolError unless the bytes have this hash."""
    actual = sha256_of(data)
    if actual != sha256:
        raise ProtocolError(f"{what}: content has sha256 {actual[:12]}, {sha256[:12]} was announced")
