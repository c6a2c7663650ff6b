"""Reading a configuration from disk: the file, what it includes, the environment, the parser files.

The only place that reads configuration files. The digest is the SHA-256 of the main file's bytes, so that whoever wrote
the file can tell whether it is what runs.
"""

import glob
import hashlib
import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from headrace.config import ConfigError, Document, Fault, Position, Section, parse, substitute


@dataclass(frozen=True, slots=True)
class Loaded:
    """A configuration with variables replaced.

    `parsers` are the document's and those of its parser files, in order; `variables` those that the document sets.
    """

    document: Document
    parsers: tuple[Section, ...]
    variables: Mapping[str, str]
    sha256: str


def load(
    path: Path | None,
    environment: Mapping[str, str],
    parser_files: tuple[str, ...] = (),
    added: tuple[Section, ...] = (),
) -> Loaded:
    """Read `path`, if there is one, and add sections to it. Raises ConfigError with every fault."""
    data, document = b"", Document(format="yaml")
    if path is not None:
        data = _read(path, Position(str(path), 1, 1))
        document = parse(_text(data, path), file=str(path), read=_included)
    values = {"HOSTNAME": socket.gethostname(), **environment}
    document = substitute(replace(document, sections=document.sections + added), values, missing="empty")
    parsers = [*document.of_kind("parser"), *document.of_kind("multiline_parser")]
    faults: list[Fault] = []
    for name, position in [
        *_parser_files(document),
        *((name, Position("command line", 1, 1)) for name in parser_files),
    ]:
        try:
            parsers += _parser_file(name, path.parent if path is not None else Path(), position, values)
        except ConfigError as error:
            faults += error.faults
    if faults:
        raise ConfigError(faults)
    own = {prop.name: prop.value for prop in document.env if isinstance(prop.value, str) and prop.value}
    variables = {"HOSTNAME": values["HOSTNAME"], **own}
    return Loaded(document, tuple(parsers), variables, hashlib.sha256(data).hexdigest())


def _parser_files(document: Document) -> list[tuple[str, Position]]:
    properties = document.service.properties if document.service else ()
    return [
        (str(name), prop.position)
        for prop in properties
        if prop.name == "parsers_file"
        for name in (prop.value if isinstance(prop.value, tuple) else (prop.value,))
    ]


def _parser_file(name: str, folder: Path, position: Position, values: Mapping[str, str]) -> tuple[Section, ...]:
    path = Path(name)
    if not path.exists() and not path.is_absolute():
        path = folder / name
    parsed = parse(_text(_read(path, position), path), file=str(path), read=_included)
    document = substitute(parsed, values, missing="empty")
    return document.of_kind("parser") + document.of_kind("multiline_parser")


def _included(pattern: str) -> Mapping[str, str]:
    found: dict[str, str] = {}
    for name in sorted(glob.glob(pattern)):
        if os.path.isfile(name):
            found[name] = _text(_read(Path(name), Position(name, 1, 1)), Path(name))
    return found


def _read(path: Path, position: Position) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigError([Fault(position, f"cannot read {str(path)!r}: {error.strerror or error}")]) from None


def _text(data: bytes, path: Path) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        column = error.start - data.rfind(b"\n", 0, error.start)
        raise ConfigError([Fault(Position(str(path), line, column), "is not UTF-8 text")]) from None
