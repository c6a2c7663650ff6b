"""The secrets that workloads here need: in memory, and on disk closed under a key of this agent's own.

    secrets.json   name, version and closed value of each, with the values before it
    secrets.key    the key; readable by its owner only, and gone when there is nothing to close

So a copy of one file tells nothing, and what was erased stays unreadable. Values before the newest are kept only to
mask them: an engine's log may still have them. A secret goes when no content on this agent names it and the control
plane's last word did not have it either. Called from the event loop only, and blocks it for a small write.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Mapping, Set
from dataclasses import dataclass, field
from pathlib import Path

import structlog

from headrace.errors import HeadraceError
from headrace.keyring import KeyFile, Keyring
from headrace.masking import Mask
from headrace.messages import Secret

log = structlog.get_logger(__name__)

FILE, KEY_FILE = "secrets.json", "secrets.key"
_FORMER = 4
_VERSION = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """A secret's newest value; `mark` is another for another value, and tells nothing of it."""

    version: int
    value: str = field(repr=False)
    mark: str
    former: tuple[str, ...] = field(default=(), repr=False)


class Secrets:
    """By name. `put` writes a file, or keeps it until it can be written."""

    def __init__(self, folder: Path, put: Callable[[Path, bytes | None], None]) -> None:
        self._path = folder / FILE
        self._keys = KeyFile(folder / KEY_FILE)
        self._put = put
        self._held: dict[str, Held] = {}
        self._told: frozenset[str] = frozenset()
        self.mask = Mask()
        """Of everything that is held."""

    @property
    def held(self) -> Mapping[str, Held]:
        """What there is, by name."""
        return self._held

    def open(self) -> None:
        """Read what is on disk. What cannot be opened is dropped: the control plane says it again."""
        try:
            document = json.loads(self._path.read_bytes())
            ring = self._keys.ring()
            if document["version"] != _VERSION or ring is None:
                raise ValueError("its form is unknown" if ring else f"{KEY_FILE} is missing")
            self._held = {name: _opened(ring, name, entry) for name, entry in document["secrets"].items()}
        except FileNotFoundError:
            return
        except (HeadraceError, OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            log.error("secrets on disk cannot be read; they will come again", path=str(self._path), reason=str(error))
        self._mask()

    def take(self, secrets: tuple[Secret, ...]) -> bool:
        """All that the control plane says is needed here; whether anything is another than before."""
        self._told = frozenset(secret.name for secret in secrets)
        taken = {secret.name: value for secret in secrets if (value := _text(secret)) is not None}
        versions = {secret.name: secret.version for secret in secrets}
        news = {
            name: value
            for name, value in taken.items()
            if name not in self._held or (self._held[name].version, self._held[name].value) != (versions[name], value)
        }
        if not news:
            return False
        ring = self._ring()
        for name, value in news.items():
            before = self._held.get(name)
            former = (before.value, *before.former) if before is not None and before.value != value else ()
            self._held[name] = Held(
                version=versions[name],
                value=value,
                mark=ring.mark(value.encode(), about=f"{name}/{versions[name]}"),
                former=(former or (before.former if before else ()))[:_FORMER],
            )
        self._save(ring)
        return True

    def keep(self, named: Set[str]) -> None:
        """Erase all that nothing names any more."""
        gone = self._held.keys() - named - self._told
        if not gone:
            return
        for name in gone:
            del self._held[name]
        if self._held:
            self._save(self._ring())
            return
        self._put(self._path, None)
        self._keys.remove()
        self._mask()

    def _ring(self) -> Keyring:
        """Of the disk; of the memory alone while the disk does not take one."""
        try:
            return self._keys.ring() or self._keys.create()
        except (HeadraceError, OSError) as error:
            log.error("key of the secrets is not on disk; they are kept in memory", reason=str(error))
            return Keyring.fresh()

    def _save(self, ring: Keyring) -> None:
        self._mask()
        if self._keys.path.is_file():
            entries = {name: _closed(ring, name, held) for name, held in sorted(self._held.items())}
            self._put(self._path, json.dumps({"version": _VERSION, "secrets": entries}, indent=1).encode())

    def _mask(self) -> None:
        self.mask = Mask(value for held in self._held.values() for value in (held.value, *held.former))


def _text(secret: Secret) -> str | None:
    """A value that an environment can hold; the control plane takes no other."""
    try:
        text = secret.value.decode()
    except UnicodeDecodeError:
        text = "\0"
    if "\0" in text:
        log.error("secret is no text and is not taken", secret=secret.name, version=secret.version)
        return None
    return text


def _closed(ring: Keyring, name: str, held: Held) -> dict[str, object]:
    values = [ring.close(value.encode(), about=name) for value in (held.value, *held.former)]
    return {
        "version": held.version,
        "mark": held.mark,
        "values": [base64.b64encode(value).decode() for value in values],
    }


def _opened(ring: Keyring, name: str, entry: Mapping[str, object]) -> Held:
    version, mark, values = entry["version"], entry["mark"], entry["values"]
    if not (isinstance(version, int) and isinstance(mark, str) and isinstance(values, list)):
        raise TypeError(f"secret {name!r} is not as this agent writes it")
    value, *former = [ring.open(base64.b64decode(text), about=name).decode() for text in values]
    return Held(version=version, value=value, mark=mark, former=tuple(former))
