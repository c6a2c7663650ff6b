"""`test` and `try`: a pipeline on sample records, without a control plane.

`test -f pipeline.yaml` runs the tests in `pipeline.tests.yaml` beside it:

    tests:
      - name: debug lines are dropped
        records: [{level: debug}, {level: error}]     # or lines: […], or sample: FILE
        expect:
          stdout.0: [{level: error}]                  # by output: its alias, or plugin.N for the N-th output
"""

from __future__ import annotations

import difflib
import glob
import json
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

import typer

from headrace.cli.exits import Exit, say
from headrace.cli.output import show_lines
from headrace.errors import HeadraceError, InvalidError
from headrace.types import Fault

if TYPE_CHECKING:
    from headrace.cli.samples import Sample
    from headrace.config import Document
    from headrace.masking import Mask
    from headrace.types import File, SecretReference

_File: TypeAlias = Annotated[
    Path, typer.Option("--file", "-f", help="The pipeline.", metavar="FILE", show_default=False)
]
_Secrets: TypeAlias = Annotated[
    list[str] | None,
    typer.Option("--secret", help="Of one it names: NAME=env:VARIABLE or NAME=file:PATH.", metavar="SECRET"),
]
_Engine: TypeAlias = Annotated[
    str, typer.Option("--engine", help="embedded, fluent-bit, or the path of one.", metavar="ENGINE")
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Pipeline:
    """What is tested: its files are in the folder `within`, or come with it; `environment` carries its secrets."""

    document: Document
    files: tuple[File, ...]
    within: Path | None
    environment: Mapping[str, str]

    @property
    def mask(self) -> Mask:
        """What takes their values out of whatever is shown."""
        from headrace.masking import Mask

        return Mask(self.environment.values())


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One test: what goes in, and the records that each named output is to be given, in order."""

    name: str
    sample: Sample
    expect: Mapping[str, list[Any]]


def run_tests(
    file: _File,
    tests: Annotated[
        Path | None, typer.Option("--tests", help="The tests; else NAME.tests.yaml beside it.", metavar="FILE")
    ] = None,
    secrets: _Secrets = None,
    engine: _Engine = "embedded",
) -> None:
    """Run a pipeline's tests: its filters and processors on sample records; exit 1 when one fails."""
    pipeline = _read(file, secrets or [])
    path = tests or file.with_name(f"{file.stem}.tests.yaml")
    cases = _cases(path)
    failed = 0
    for case in cases:
        try:
            differences = list(_differences(pipeline, case, engine))
        except HeadraceError as error:
            differences = error.message.splitlines()
        differences = [pipeline.mask.text(line) for line in differences]
        failed += bool(differences)
        show_lines([f"{'FAILED' if differences else 'passed'}  {case.name}", *(f"    {line}" for line in differences)])
    say(f"{len(cases) - failed} of {len(cases)} tests passed")
    if failed:
        raise typer.Exit(Exit.REFUSED)


def try_sample(
    file: _File,
    sample: Annotated[
        Path, typer.Option("--input", help="A file of lines, as the input would read it.", metavar="FILE")
    ],
    source: Annotated[
        str, typer.Option("--for", help="The input it is for, where there are several.", metavar="NAME")
    ] = "",
    tag: Annotated[str, typer.Option("--tag", help="Its tag, where that is made of a file name.", metavar="TAG")] = "",
    secrets: _Secrets = None,
    engine: _Engine = "embedded",
) -> None:
    """Show what becomes of sample lines at each stage: after the input, after each filter, at each output."""
    from headrace.cli.samples import Sample, instances

    pipeline = _read(file, secrets or [])
    given = Sample(lines=tuple(_text(sample).splitlines()), input=source, tag=tag)
    stages = ["input", *instances(pipeline.document.filters)]
    for number, stage in enumerate(stages):
        captured = _run(pipeline, given, engine, filters=number)
        lines = captured.get("stage", ())
        show_lines([f"== {stage}: {len(lines)} records", *map(pipeline.mask.text, lines)])
    for name, lines in _run(pipeline, given, engine).items():
        show_lines([f"== output {name}: {len(lines)} records", *map(pipeline.mask.text, lines)])


def _differences(pipeline: Pipeline, case: Case, engine: str) -> Iterator[str]:
    captured = _run(pipeline, case.sample, engine)
    for output, expected in case.expect.items():
        found = [json.loads(line) for line in captured.get(output, ())]
        if found != expected:
            yield from difflib.unified_diff(
                [_line(record) for record in expected],
                [_line(record) for record in found],
                f"{output} expected",
                f"{output} found",
                lineterm="",
                n=1,
            )


def _line(record: object) -> str:
    return json.dumps(record, ensure_ascii=False, sort_keys=True)


def _run(pipeline: Pipeline, sample: Sample, engine: str, filters: int | None = None) -> Mapping[str, Sequence[str]]:
    from headrace.cli import samples

    with tempfile.TemporaryDirectory(prefix="headrace-") as name:
        folder, within = Path(name, "run"), pipeline.within or Path(name)
        for file in pipeline.files:
            path = within / file.name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(file.content)
        changed = samples.rewritten(pipeline.document, sample, folder=folder, engine=engine, filters=filters)
        try:
            captured = samples.run(
                changed, sample, folder=folder, within=within, engine=engine, environment=pipeline.environment
            )
        except InvalidError as error:
            raise InvalidError(pipeline.mask.text(error.message)) from None
    for line in captured.complaints:
        say(pipeline.mask.text(line))
    known = samples.instances(pipeline.document.outputs) if filters is None else {}
    return {**dict.fromkeys(known, ()), **captured.outputs}


def _read(file: Path, given: Sequence[str]) -> Pipeline:
    """The pipeline in a file, a bare configuration or a manifest. Raises InvalidError with every fault."""
    from headrace import config
    from headrace.cli import manifest, secret_values, sources

    text, within = _text(file), file.parent.absolute()
    files: tuple[File, ...] = ()
    secrets: tuple[SecretReference, ...] = ()
    if is_manifest := manifest.is_manifest(text):
        found = sources.load([str(file)])
        if len(found) != 1:
            raise InvalidError(f"{file} has {len(found)} pipelines; give one in a file of its own")
        text, files, secrets = found[0].manifest.config, found[0].manifest.files, found[0].manifest.secrets
    texts = {shipped.name: shipped.content.decode(errors="replace") for shipped in files}

    def included(pattern: str) -> dict[str, str]:
        if is_manifest:
            return {name: text for name, text in texts.items() if fnmatchcase(name, pattern)}
        return {name: _text(Path(name)) for name in sorted(glob.glob(pattern))}

    try:
        document = config.parse(text, file="" if is_manifest else str(file), read=included)
    except config.ConfigError as error:
        faults = [
            Fault(message=f.message, file=f.position.file, line=f.position.line, column=f.position.column)
            for f in error.faults
        ]
        raise InvalidError(f"{file} is not a pipeline", faults=faults) from None
    return Pipeline(
        document=document,
        files=files,
        within=None if is_manifest else within,
        environment=secret_values.environment(given, secrets),
    )


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "is not UTF-8 text"
        raise InvalidError(f"cannot read {path}: {why}") from None


def _cases(path: Path) -> list[Case]:
    """The tests in a file. Raises InvalidError that names the test and what is wrong with it."""
    import yaml

    try:
        found = yaml.safe_load(_text(path))
    except yaml.YAMLError as error:
        raise InvalidError(f"{path} is not YAML: {error}") from None
    tests = found.get("tests") if isinstance(found, dict) else None
    if not isinstance(tests, list) or not tests:
        raise InvalidError(f"{path} has no tests; it needs a list 'tests'")
    return [_case(test, number, path) for number, test in enumerate(tests, 1)]


def _case(test: Any, number: int, path: Path) -> Case:
    from headrace.cli.samples import Sample

    label = f"{path}: test {number}"
    if not isinstance(test, dict):
        raise InvalidError(f"{label} is not a map")
    known = {"name", "records", "lines", "sample", "input", "tag", "expect"}
    for key in test.keys() - known:
        from headrace.config import did_you_mean

        raise InvalidError(f"{label}: {key!r} is not known{did_you_mean(str(key), known)}")
    given = [key for key in ("records", "lines", "sample") if key in test]
    if len(given) != 1:
        raise InvalidError(f"{label} needs one of 'records', 'lines' and 'sample'")
    records, lines, expect = test.get("records", []), test.get("lines", []), test.get("expect")
    if not isinstance(records, list) or not all(isinstance(record, dict) for record in records):
        raise InvalidError(f"{label}: 'records' is a list of maps")
    if not isinstance(lines, list) or not all(isinstance(line, str) for line in lines):
        raise InvalidError(f"{label}: 'lines' is a list of texts")
    if not isinstance(expect, dict) or not all(isinstance(some, list) for some in expect.values()):
        raise InvalidError(f"{label}: 'expect' is a map from an output's name to a list of records")
    if "sample" in test:
        lines = _text(path.parent / str(test["sample"])).splitlines()
    sample = Sample(
        records=tuple(records), lines=tuple(lines), input=str(test.get("input", "")), tag=str(test.get("tag", ""))
    )
    return Case(name=str(test.get("name", f"test {number}")), sample=sample, expect=expect)
