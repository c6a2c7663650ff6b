"""Values that pipelines refer to by name: set, listed without their values, deleted, and told to agents that need them.

They are encrypted before the store sees them, and opened only for the message to an agent. A value leaves the process
on the channel and nowhere else: no answer, event, log line or error has one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from datetime import datetime

import structlog

from controlplane.changes import follow
from controlplane.model import SECRET_KEY, SecretRow, Topic
from controlplane.secrets.values import check_value
from controlplane.state.store import Reader, Store
from controlplane.view import View
from controlplane.words import some
from headrace import api, codec, messages
from headrace.config import did_you_mean
from headrace.errors import ConflictError, HeadraceError, InvalidError, NotFoundError
from headrace.keyring import KeyFile, Keyring, key_id_of
from headrace.masking import Mask
from headrace.names import validate_name

log = structlog.get_logger(__name__)


class Secrets:
    """The rules of secrets, over one store, view and key file; safe to use from many tasks of one loop."""

    def __init__(self, *, store: Store, view: View, keys: KeyFile, clock: Callable[[], datetime]) -> None:
        self._store = store
        self._view = view
        self._keys = keys
        self._clock = clock
        self._complained: set[tuple[str, int]] = set()

    async def set(self, request: api.SetSecretRequest, *, author: str) -> api.SetSecretResponse:
        """Makes a secret or gives it a new value; the same value again changes nothing.

        Raises InvalidError, and ConflictError where the key file is missing that others are encrypted with.
        """
        name, now = validate_name(request.name, "secret name"), self._clock()
        check_value(name, request.value)
        async with self._store.write() as tx:
            await follow(self._view, tx)
            ring = await self._ring(tx)
            row = await tx.get(SecretRow, name)
            live = row is not None and not row.deleted
            if row is not None and live and _opened(ring, row) == request.value:
                return api.SetSecretResponse(secret=self._shown(row))
            version = 1 + (row.version if row is not None else 0)
            row = SecretRow(
                name=name,
                version=version,
                value=ring.close(request.value, about=_about(name, version)),
                author=author,
                created_at=row.created_at if row is not None and live else now,
                updated_at=now,
            )
            await tx.put(row)
            tx.log(Topic.VARIABLE, SECRET_KEY + name)
            naming = self._view.naming(frozenset({name}))
            message = f"secret {name}, version {version}, which {some(len(naming), 'pipeline')} refer to"
            tx.event("secret.set", message, actor=author)
        return api.SetSecretResponse(secret=self._shown(row), changed=True)

    async def list(self) -> tuple[api.SecretInfo, ...]:
        """All of them, without their values."""
        async with self._store.read() as reader:
            await follow(self._view, reader)
            rows = await reader.find(SecretRow, deleted=False)
        return tuple(self._shown(row) for row in rows)

    async def delete(self, name: str, *, author: str) -> None:
        """Raises NotFoundError, and ConflictError while a pipeline refers to it."""
        async with self._store.write() as tx:
            await follow(self._view, tx)
            row = self._view.secrets.get(name)
            if row is None:
                raise NotFoundError(f"there is no secret {name!r}{did_you_mean(name, self._view.secrets)}")
            if naming := self._view.naming(frozenset({name})):
                those = ", ".join(repr(each) for each in naming[:8])
                raise ConflictError(f"secret {name!r} is in use by pipeline {those}; change or delete that first")
            await tx.put(replace(row, value=b"", deleted=True, author=author, updated_at=self._clock()))
            tx.log(Topic.VARIABLE, SECRET_KEY + name)
            tx.event("secret.deleted", f"secret {name}, version {row.version}", actor=author)

    async def rekey(self, *, author: str) -> int:
        """Encrypts all with the first key of the key file, all or nothing; how many had another one.

        Raises ConflictError that names those which no key of the file opens.
        """
        async with self._store.write() as tx:
            ring = await self._ring(tx)
            rows = await tx.find(SecretRow, deleted=False)
            old = [row for row in rows if key_id_of(row.value) != ring.key_id]
            if lost := [row.name for row in old if _opened(ring, row) is None]:
                raise ConflictError(
                    f"{some(len(lost), 'secret')} cannot be decrypted with {self._keys.path}: "
                    f"{', '.join(map(repr, lost[:8]))}; bring the key they have, or set them anew"
                )
            for row in old:
                about = _about(row.name, row.version)
                await tx.put(replace(row, value=ring.close(ring.open(row.value, about=about), about=about)))
                tx.log(Topic.VARIABLE, SECRET_KEY + row.name)
            if old:
                tx.event("secret.rekeyed", f"{some(len(old), 'secret')}, with key {ring.key_id}", actor=author)
        return len(old)

    def problem(self, name: str) -> str:
        """Why no pipeline can use the secret of this name; empty when it can."""
        row = self._view.secrets.get(name)
        if row is None:
            near = did_you_mean(name, self._view.secrets)
            return f"secret {name!r} does not exist{near or f'; make it by `headrace secret set {name}`'}"
        return self._problem(row)

    def message(self, names: Iterable[str]) -> bytes:
        """The message with these, for the agents that need just them. What cannot be opened is left out, and logged."""
        found = []
        for name in sorted(names):
            row = self._view.secrets.get(name)
            if row is None:
                continue
            value = self._value(row)
            if value is not None:
                found.append(messages.Secret(name=name, version=row.version, value=value))
            elif (name, row.version) not in self._complained:
                self._complained.add((name, row.version))
                log.error("secret cannot be given to agents", secret=name, reason=self._problem(row))
        return codec.encode_server(messages.Secrets(secrets=tuple(found)))

    def mask(self, pipeline: str) -> Mask:
        """Of the secrets that a pipeline refers to."""
        viewed = self._view.pipelines.get(pipeline)
        rows = [self._view.secrets.get(name) for name in viewed.secrets] if viewed else []
        values = [self._value(row) for row in rows if row is not None]
        return Mask(value.decode() for value in values if value)

    async def check(self) -> None:
        """Says in the log, at a start, what this process cannot open."""
        for secret in await self.list():
            if secret.problem:
                log.error("secret cannot be used", secret=secret.name, reason=secret.problem)

    async def _ring(self, reader: Reader) -> Keyring:
        """The keys; made at the first use, and never beside secrets of a key that is elsewhere."""
        ring = self._keys.ring()
        if ring is not None:
            return ring
        if used := sorted({key_id_of(row.value) for row in await reader.find(SecretRow, deleted=False)}):
            raise ConflictError(
                f"there is no key file {self._keys.path}, and the secrets here are encrypted with key "
                f"{', '.join(used)}; bring that file, or name it by --secrets-key. All replicas need the same one"
            )
        try:
            ring = self._keys.create()
        except OSError as error:
            raise InvalidError(f"key file {self._keys.path} cannot be made: {error.strerror}") from error
        log.info("key file made; secrets are lost without it, so keep a copy elsewhere", path=str(self._keys.path))
        return ring

    def _value(self, row: SecretRow) -> bytes | None:
        try:
            ring = self._keys.ring()
        except HeadraceError:
            return None
        return None if ring is None else _opened(ring, row)

    def _problem(self, row: SecretRow) -> str:
        reason = f"there is no key file {self._keys.path}"
        try:
            if ring := self._keys.ring():
                ring.open(row.value, about=_about(row.name, row.version))
                return ""
        except HeadraceError as error:
            reason = error.message
        return (
            f"secret {row.name!r} cannot be decrypted here: {reason}; "
            f"bring the key file that has key {key_id_of(row.value)} (--secrets-key), or set the secret anew"
        )

    def _shown(self, row: SecretRow) -> api.SecretInfo:
        naming: Sequence[str] = self._view.naming(frozenset({row.name}))
        return api.SecretInfo(
            name=row.name,
            version=row.version,
            created_at=row.created_at,
            updated_at=row.updated_at,
            author=row.author,
            pipelines=tuple(naming),
            problem=self._problem(row),
        )


def _about(name: str, version: int) -> str:
    return f"{name}/{version}"


def _opened(ring: Keyring, row: SecretRow) -> bytes | None:
    try:
        return ring.open(row.value, about=_about(row.name, row.version))
    except ConflictError:
        return None
