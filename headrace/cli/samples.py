"""A pipeline on given records: rewritten to read a file and to write files, and run to its end by an engine.

The input that a sample is for becomes a `tail` of that file, with its tag, parsers and processors; the other inputs are
left out. Each output becomes a `file`, with its match and processors. So nothing waits for time or network, and any
engine that takes `-c FILE` can run it. `rewritten` is pure; `run` starts one child process in a folder of its own.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from headrace.cli.programs import Program, command
from headrace.config import Document, Position, Property, Section, Value, render
from headrace.errors import DeadlineError, InvalidError, NotFoundError, UnavailableError

EMBEDDED = Program(name="embedded engine", module="agent.engine", extra="agent", probe="orjson")
EMBEDDED_NAME = "embedded"
LONGEST_RUN_S = 60.0
MESSAGES_END_S = 7.0
"""Fluent Bit takes a multi-line message as complete after 4 seconds, and looks every 2."""
_JSON_PARSER = "headrace_sample"
_HERE = Position("sample", 1, 1)
_COMPLAINT = re.compile(r"\[\d{4}/[^]]*\] \[(?:error| warn)\] (?!\[engine\] service will shutdown)")
_KEPT_OF_TAIL = (
    "parser",
    "multiline.parser",
    "key",
    "skip_empty_lines",
    "skip_long_lines",
    "buffer_chunk_size",
    "buffer_max_size",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """What an input is to read: lines of text, or records. `input` and `tag` only where they are not plain."""

    lines: tuple[str, ...] = ()
    records: tuple[Mapping[str, Any], ...] = ()
    input: str = ""
    tag: str = ""

    @property
    def text(self) -> str:
        lines = [json.dumps(record, ensure_ascii=False) for record in self.records] if self.records else self.lines
        return "".join(f"{line}\n" for line in lines)


@dataclass(frozen=True, slots=True)
class Captured:
    """What came out: the lines that each output was given, by its name, and what the engine complained of."""

    outputs: Mapping[str, tuple[str, ...]]
    complaints: tuple[str, ...]


def instances(sections: Sequence[Section]) -> dict[str, Section]:
    """Sections of one kind by the name that an engine gives them: the alias, or `plugin.N` for the N-th of all."""
    return {section.alias or f"{section.name}.{number}": section for number, section in enumerate(sections)}


def rewritten(
    document: Document, sample: Sample, *, folder: Path, engine: str = EMBEDDED_NAME, filters: int | None = None
) -> Document:
    """The pipeline on a sample, read from and written to `folder`; with `filters`, cut off after so many of them.

    It ends by itself, but for multi-line messages on a Fluent Bit, which loses them, or crashes, at such an end.

    Raises NotFoundError for an input that is not there, InvalidError where it must be said which one.
    """
    name, source = _source(document, sample)
    kept = [section for section in document.sections if section.kind in ("parser", "multiline_parser")]
    if sample.records:
        kept.append(_section("parser", name=_JSON_PARSER, format="json"))
    if filters is None:
        outputs = [_capture(output, named, folder) for named, output in instances(document.outputs).items()]
    else:
        outputs = [_capture(_section("output", match="*"), "stage", folder, layout="out_file")]
    ends = engine == EMBEDDED_NAME or not _has_messages(source, document.filters[:filters])
    default_tag = f"{source.name}.{list(instances(document.inputs)).index(name)}"
    service = _section("service", flush="0.1", grace="5", log_level="warn")
    parser_files = [Property("parsers_file", name, _HERE) for name in _parser_files(document)]
    return replace(
        document,
        format="yaml",
        service=replace(service, properties=(*service.properties, *parser_files)),
        sections=(
            *kept,
            _reader(source, name, default_tag, sample, folder, ends),
            *document.filters[:filters],
            *outputs,
        ),
        includes=(),
    )


def run(
    document: Document,
    sample: Sample,
    *,
    folder: Path,
    within: Path,
    engine: str,
    environment: Mapping[str, str] | None = None,
) -> Captured:
    """Run a rewritten document to its end; `folder` is the one it was rewritten for, `within` where it works.

    `environment` is added to this process's own.

    Raises InvalidError when the engine does not take it, DeadlineError when it does not end.
    """
    (folder / "out").mkdir(parents=True)
    (folder / "sample.log").write_text(sample.text, encoding="utf-8")
    (folder / "pipeline.yaml").write_text(render(document, format="yaml"), encoding="utf-8")
    line = [*_engine(engine), "-c", str(folder / "pipeline.yaml")]
    ends = any(reader.find("exit_on_eof") for reader in document.inputs)
    with (folder / "log").open("w+b") as log:
        process = subprocess.Popen(
            line,
            cwd=within,
            env={**os.environ, **(environment or {})},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=log,
        )
        try:
            code = process.wait(LONGEST_RUN_S if ends else MESSAGES_END_S)
        except subprocess.TimeoutExpired:
            process.terminate()
            code = process.wait(LONGEST_RUN_S)
            if ends:
                raise DeadlineError(f"the engine did not end within {LONGEST_RUN_S:g} s on this sample") from None
        finally:
            process.kill()
            process.wait()
        log.seek(0)
        said = log.read().decode(errors="replace")
    if code:
        raise InvalidError(f"the engine refused the pipeline or failed (exit status {code}):\n{said.rstrip()}")
    files = sorted((folder / "out").iterdir())
    outputs = {file.name: tuple(file.read_text(encoding="utf-8").splitlines()) for file in files}
    return Captured(outputs, tuple(line for line in said.splitlines() if _COMPLAINT.match(line)))


def _source(document: Document, sample: Sample) -> tuple[str, Section]:
    inputs = instances(document.inputs)
    if sample.input:
        if sample.input not in inputs:
            raise NotFoundError(f"the pipeline has no input {sample.input!r}; it has {', '.join(inputs) or 'none'}")
        return sample.input, inputs[sample.input]
    if len(inputs) != 1:
        raise InvalidError(f"say which input the sample is for; the pipeline has {', '.join(inputs) or 'none'}")
    return next(iter(inputs.items()))


def _has_messages(source: Section, filters: Sequence[Section]) -> bool:
    return source.find("multiline.parser") is not None or any(section.name == "multiline" for section in filters)


def _reader(source: Section, name: str, default_tag: str, sample: Sample, folder: Path, ends: bool) -> Section:
    tag = sample.tag or source.get("tag") or default_tag
    if "*" in str(tag):
        raise InvalidError(
            f"the tag of input {name!r} is made of a file name ({tag}); say which one the sample has: 'tag'"
        )
    own = () if sample.records else _KEPT_OF_TAIL if source.name == "tail" else ("parser",)
    kept = [prop for prop in source.properties if prop.name in own]
    given: dict[str, Value] = {"path": str(folder / "sample.log"), "tag": tag, "alias": name}
    given |= {"read_from_head": "true"} | ({"exit_on_eof": "true"} if ends else {})
    if sample.records:
        given["parser"] = _JSON_PARSER
    plain = _section("input", name="tail", **given)
    return replace(plain, properties=(*plain.properties, *kept), processors=source.processors)


def _capture(output: Section, name: str, folder: Path, layout: str = "plain") -> Section:
    kept = [prop for prop in output.properties if prop.name in ("match", "match_regex")]
    plain = _section("output", name="file", alias=name, path=str(folder / "out"), file=name, format=layout)
    return replace(plain, properties=(*plain.properties, *kept), processors=output.processors)


def _section(kind: Any, **given: Value) -> Section:
    return Section(
        kind=kind, position=_HERE, properties=tuple(Property(key, value, _HERE) for key, value in given.items())
    )


def _parser_files(document: Document) -> list[str]:
    return [str(name) for name in document.service.all("parsers_file")] if document.service else []


def _engine(engine: str) -> list[str]:
    """The engine's command line: `embedded`, `fluent-bit`, or the path of one that takes the same flags."""
    if engine == EMBEDDED_NAME:
        return command(EMBEDDED, [])
    found = shutil.which(os.environ.get("FLUENT_BIT_BIN", "fluent-bit") if engine == "fluent-bit" else engine)
    if found is None:
        raise UnavailableError(f"there is no {engine!r} on PATH; name its file, or use --engine embedded")
    return [found]
