"""What `-f` names, read from disk or stdin: FILE, DIR or `-`, each to the manifests in it.

The files that a manifest names are read from the folder of that manifest and never from outside of it, through links
neither. Nothing is sent before all of it was read; every fault of every file is raised together.
"""

from __future__ import annotations

import stat
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import typer

from headrace.api import Change
from headrace.cli import manifest
from headrace.cli.exits import say
from headrace.cli.manifest import Source
from headrace.errors import InvalidError, LimitError
from headrace.limits import DEFAULT_LIMITS
from headrace.types import Fault

_SUFFIXES = frozenset({".yaml", ".yml"})


def load(
    files: Sequence[str] | None, *, name: str = "", selector: str = "", recursive: bool = False
) -> tuple[Source, ...]:
    """The manifests that `-f` names, in that order. Raises InvalidError with every fault, and usage errors."""
    if not files:
        raise typer.BadParameter("which file? give -f FILE, -f DIR, or -f - for stdin", param_hint="'--file' / '-f'")
    if name or selector:
        return (_load_bare(files, name=name, selector=selector),)
    sources: list[Source] = []
    faults: list[Fault] = []
    for argument in files:
        for path, text in _texts(argument, recursive=recursive):
            try:
                sources.extend(_parse(path, text))
            except InvalidError as error:
                faults.extend(error.faults)
    faults.extend(_twice(sources))
    if faults:
        raise manifest.refusal(faults)
    return tuple(sources)


@contextmanager
def placing(sources: Sequence[Source]) -> Iterator[None]:
    """What the control plane refuses within is raised with its faults placed in these files."""
    try:
        yield
    except InvalidError as error:
        message = error.message
        faults = [_placed(fault, sources) for fault in error.faults]
        for known, here in zip(error.faults, faults, strict=True):
            message = message.replace(str(known), str(here))
        raise type(error)(message, faults=faults, confirm=error.confirm) from error


def placed(changes: Iterable[Change], sources: Sequence[Source]) -> list[Change]:
    """The changes with their findings placed in these files."""
    return [replace(change, findings=tuple(_placed(fault, sources) for fault in change.findings)) for change in changes]


def _placed(fault: Fault, sources: Sequence[Source]) -> Fault:
    """The control plane knows a configuration by the pipeline's name, people know the file that it is in."""
    for source in sources:
        if fault.file == source.manifest.name and fault.line:
            file, line, column = source.place(fault.line, fault.column)
            return replace(fault, file=file, line=line, column=column)
    return fault


def _load_bare(files: Sequence[str], *, name: str, selector: str) -> Source:
    if not (name and selector):
        missing = "--selector" if name else "--name"
        raise typer.BadParameter(f"a bare Fluent Bit file needs --name and --selector; {missing} is missing")
    if len(files) != 1 or Path(files[0]).is_dir():
        raise typer.BadParameter("--name and --selector go with one bare Fluent Bit file")
    path, text = next(_texts(files[0], recursive=False))
    if manifest.is_manifest(text):
        raise typer.BadParameter(
            f"{path} is a pipeline file and says its name and selector itself; leave out the options"
        )
    return manifest.bare(text, file=path, name=name, selector=selector)


def _parse(path: str, text: str) -> tuple[Source, ...]:
    if not manifest.is_manifest(text):
        raise typer.BadParameter(
            f"{path} has no apiVersion and kind, so it is no pipeline file; "
            "for a bare Fluent Bit file give --name NAME and --selector SELECTOR"
        )
    folder = Path.cwd() if path == "<stdin>" else Path(path).parent
    sources = manifest.parse(text, file=path, read=_Folder(folder).read)
    return tuple(_relocated(source, folder) for source in sources)


def _relocated(source: Source, folder: Path) -> Source:
    """With the name of a configuration's own file as the user would write it."""
    if source.config is None or source.config.file == source.position.file:
        return source
    return replace(source, config=replace(source.config, file=str(folder / source.config.file)))


def _texts(argument: str, *, recursive: bool) -> Iterator[tuple[str, str]]:
    """The texts behind one `-f`, each with the name to call it by."""
    if argument == "-":
        yield "<stdin>", _decoded(sys.stdin.buffer.read(DEFAULT_LIMITS.pipeline + 1), "<stdin>")
        return
    path = Path(argument)
    if not path.is_dir():
        text = _text_of(path)
        yield str(path), text
        return
    found = False
    for entry in sorted(path.rglob("*") if recursive else path.iterdir()):
        if entry.suffix not in _SUFFIXES or not entry.is_file():
            continue
        if manifest.is_manifest(text := _text_of(entry)):
            found = True
            yield str(entry), text
        else:
            say(f"{entry}: left out, it has no apiVersion and so is no pipeline file")
    if not found:
        hint = "" if recursive else "; -R looks in the folders below too"
        raise typer.BadParameter(f"folder {argument!r} has no pipeline file (*.yaml with apiVersion){hint}")


def _text_of(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return _decoded(file.read(DEFAULT_LIMITS.pipeline + 1), str(path))
    except OSError as error:
        raise typer.BadParameter(f"cannot read {str(path)!r}: {error.strerror}") from error


def _decoded(data: bytes, name: str) -> str:
    if len(data) > DEFAULT_LIMITS.pipeline:
        raise LimitError(f"{name} is larger than {DEFAULT_LIMITS.pipeline} bytes, the limit of a whole pipeline")
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise InvalidError(f"{name} is not text in UTF-8: {error}") from error


def _twice(sources: Iterable[Source]) -> Iterator[Fault]:
    first: dict[str, Source] = {}
    for source in sources:
        known = first.setdefault(source.manifest.name, source)
        if known is not source:
            yield Fault(
                message=f"pipeline {source.manifest.name!r} is given twice; first at {known.position}",
                file=source.position.file,
                line=source.position.line,
                column=source.position.column,
            )


class _Folder:
    """Reads files below one folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder.resolve()

    def read(self, path: str) -> bytes:
        if "\0" in path or Path(path).is_absolute() or ".." in Path(path).parts:
            raise InvalidError(f"{path!r} leaves the folder of this file; name a file in or below {self._folder}")
        try:
            target = (self._folder / path).resolve()
            if not target.is_relative_to(self._folder):
                raise InvalidError(
                    f"{path!r} is a link out of the folder of this file; copy the file to {self._folder}"
                )
            status = target.stat()
            if not stat.S_ISREG(status.st_mode):
                raise InvalidError(f"{path!r} is not a file")
            if status.st_size > DEFAULT_LIMITS.file:
                raise LimitError(f"{path!r} has {status.st_size} bytes, the limit of a file is {DEFAULT_LIMITS.file}")
            return target.read_bytes()
        except OSError as error:
            raise InvalidError(f"cannot read {path!r}: {error.strerror}") from error
