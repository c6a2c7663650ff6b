"""A pipeline file, as text, to the manifests in it, with the line and column of everything that is wrong.

Pure: files that a manifest names come through a reader that the caller passes in. A text holds any number of YAML
documents; every fault in all of them is raised together. `bare` makes a manifest of a Fluent Bit file that has none.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from headrace.api import Manifest
from headrace.cli.fields import Fields
from headrace.config import did_you_mean
from headrace.config.draft import Draft
from headrace.config.model import Position
from headrace.config.yaml_nodes import List, Map, Node, Scalar, compose
from headrace.errors import InvalidError
from headrace.names import validate_label_key, validate_label_value, validate_name
from headrace.selector import parse as parse_selector
from headrace.types import Engine, Fault, File, SecretReference

API_VERSION = "headrace/v1"
KIND = "Pipeline"

ReadFile = Callable[[str], bytes]
"""Takes a path as the manifest has it; raises InvalidError with a message that says why it cannot be read."""

_CLAIM = re.compile(r"""^(apiVersion|kind)\s*:|\A\s*\{.*["'](apiVersion|kind)["']\s*:""", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True, slots=True)
class Place:
    """Where a configuration stands: what to add to its own lines and columns to get those of the file."""

    file: str
    line: int = 0
    column: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A manifest and where it was written; `config` is None where its lines are not lines of a file."""

    manifest: Manifest
    position: Position
    config: Place | None = None

    def place(self, line: int, column: int) -> tuple[str, int, int]:
        """File, line and column of a place in the configuration."""
        if self.config is None:
            return f"{self.position.file} (config of {self.manifest.name!r})", line, column
        return self.config.file, line + self.config.line, column + self.config.column


def is_manifest(text: str) -> bool:
    """Whether a text claims to be a pipeline file: it has `apiVersion` or `kind` at its top (JSON will do)."""
    return _CLAIM.search(text.removeprefix("\ufeff")) is not None


def parse(text: str, *, file: str, read: ReadFile) -> tuple[Source, ...]:
    """The manifests of a pipeline file, in order. Raises InvalidError with every fault."""
    draft = Draft(format="yaml", read=None)
    roots = compose(draft, text, file) if draft.is_readable(text, file) else []
    nodes = [node for node in roots if not (isinstance(node, Scalar) and not node.text)]
    reader = _Reader(draft, text, read)
    sources = [source for node in nodes if (source := reader.document(node)) is not None]
    if not nodes and not draft.faults:
        draft.fault(Position(file, 1, 1), "there is no pipeline in this file")
    if draft.faults:
        raise refusal([fault_at(found.position, found.message) for found in draft.faults])
    return tuple(sources)


def bare(config: str, *, file: str, name: str, selector: str) -> Source:
    """The manifest of a Fluent Bit configuration that comes without one. Raises InvalidError."""
    validate_name(name)
    parse_selector(selector)
    manifest = Manifest(name=name, selector=selector, config=config)
    return Source(manifest=manifest, position=Position(file, 1, 1), config=Place(file))


def refusal(faults: Sequence[Fault]) -> InvalidError:
    """The error that says how many things are wrong and carries each."""
    count = "one fault" if len(faults) == 1 else f"{len(faults)} faults"
    return InvalidError(f"refused before anything was sent: {count}", faults=faults)


def fault_at(position: Position, message: str) -> Fault:
    """A fault with its place."""
    return Fault(message=message, file=position.file, line=position.line, column=position.column)


class _Reader(Fields):
    """Walks the documents of one text."""

    def __init__(self, draft: Draft, text: str, read: ReadFile) -> None:
        super().__init__(draft)
        self.lines = text.removeprefix("\ufeff").split("\n")
        self.read = read

    def document(self, node: Node) -> Source | None:
        """None for one with faults."""
        before = len(self.draft.faults)
        top = self.take(node, ("apiVersion", "kind", "metadata", "spec"), "a pipeline file")
        self.constant(node, top, "apiVersion", API_VERSION)
        self.constant(node, top, "kind", KIND)
        metadata_node = self.required(node, top, "metadata", "a pipeline file")
        spec_node = self.required(node, top, "spec", "a pipeline file")
        if metadata_node is None or spec_node is None:
            return None
        metadata = self.take(metadata_node, ("name", "labels", "description"), "metadata")
        spec = self.take(spec_node, ("selector", "engine", "config", "configFile", "files", "secrets"), "spec")
        name = self.required(metadata_node, metadata, "name", "metadata")
        selector = self.required(spec_node, spec, "selector", "spec", "; which agents is it for? '*' is every agent")
        config, place = self.config(spec_node, spec)
        manifest = Manifest(
            name=self.checked(name, validate_name, "name"),
            labels=self.labels(metadata.get("labels")),
            description=self.text(metadata.get("description"), "description"),
            selector=self.checked(selector, parse_selector, "selector"),
            engine=self.engine(spec.get("engine")),
            config=config,
            files=self.files(spec.get("files")),
            secrets=self.secrets(spec.get("secrets")),
        )
        if len(self.draft.faults) > before:
            return None
        return Source(manifest=manifest, position=node.position, config=place)

    def constant(self, node: Node, top: dict[str, Node], key: str, expected: str) -> None:
        found = self.required(node, top, key, "a pipeline file", f"; write '{key}: {expected}'")
        if found is not None and (text := self.text(found, key)) and text != expected:
            self.draft.fault(found.position, f"{key} is {text!r}; this version knows {expected!r}")

    def config(self, spec_node: Node, spec: dict[str, Node]) -> tuple[str, Place | None]:
        """The configuration and its place."""
        inline, path = spec.get("config"), spec.get("configFile")
        if inline is not None and path is not None:
            self.draft.fault(path.position, "spec has both 'config' and 'configFile'; keep one of them")
        if isinstance(inline, Map | List):
            self.draft.fault(inline.position, "config is text, not a map or list; write it as a block: 'config: |'")
        elif inline is not None:
            if not inline.text.strip():
                self.draft.fault(inline.position, "config is empty")
            return inline.text, self.block(inline)
        elif path is not None:
            name = self.text(path, "configFile")
            try:
                return self.file(path, "configFile").decode(), Place(name)
            except UnicodeDecodeError as error:
                self.draft.fault(path.position, f"{name!r} is not text in UTF-8: {error}")
        elif isinstance(spec_node, Map):
            hint = "write it under 'config: |', or name its file by 'configFile:'"
            self.draft.fault(spec_node.position, f"spec has no configuration; {hint}")
        return "", None

    def block(self, node: Scalar) -> Place | None:
        """Where the text of a literal block stands; other styles fold or escape their lines."""
        line, column = node.position.line, node.position.column
        header = self.lines[line - 1][column - 1 :]
        if not header.startswith("|") or any(character.isdigit() for character in header):
            return None
        first = next((text for text in self.lines[line:] if text.strip()), "")
        return Place(node.position.file, line, len(first) - len(first.lstrip(" ")))

    def engine(self, node: Node | None) -> Engine:
        text = self.text(node, "engine") or Engine.AUTO.value
        choices = [engine.value for engine in Engine]
        if node is not None and text not in choices:
            hint = did_you_mean(text, choices) or f"; it is one of {', '.join(choices)}"
            self.draft.fault(node.position, f"there is no engine {text!r}{hint}")
            return Engine.AUTO
        return Engine(text)

    def labels(self, node: Node | None) -> dict[str, str]:
        return {
            self.checked(key, validate_label_key, "label"): self.checked(
                value, validate_label_value, f"label {key.text!r}"
            )
            for key, value in self.pairs(node, "labels")
        }

    def files(self, node: Node | None) -> tuple[File, ...]:
        files = []
        for key, value in self.pairs(node, "files"):
            fields = self.take(value, ("path", "content"), f"file {key.text!r}")
            if len(fields) != 1:
                self.draft.fault(value.position, f"file {key.text!r} needs either 'path' or 'content'")
            elif "path" in fields:
                files.append(File(name=key.text, content=self.file(fields["path"], "path")))
            else:
                files.append(File(name=key.text, content=self.text(fields["content"], "content").encode()))
        return tuple(files)

    def secrets(self, node: Node | None) -> tuple[SecretReference, ...]:
        if node is not None and not isinstance(node, List):
            self.draft.fault(node.position, "secrets is a list of {name, env}")
            return ()
        references = []
        for item in node.items if node is not None else ():
            fields = self.take(item, ("name", "env"), "a secret")
            name, env = (self.text(self.required(item, fields, key, "a secret"), key) for key in ("name", "env"))
            references.append(SecretReference(name=name, env=env))
        return tuple(references)

    def file(self, node: Node, what: str) -> bytes:
        path = self.text(node, what)
        try:
            return self.read(path) if path else b""
        except InvalidError as error:
            self.draft.fault(node.position, error.message)
            return b""
