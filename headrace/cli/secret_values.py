"""Values for the secrets that a pipeline names, where it is tried without a control plane.

A value is never an argument, since everybody on a machine sees those: `NAME=env:VARIABLE` takes it from this process's
environment, `NAME=file:PATH` from a file, without its last line end. The engine finds it in the variable that the
pipeline says, and what is shown has `***` in its place.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from headrace.errors import InvalidError
from headrace.types import SecretReference


def environment(given: Sequence[str], references: Sequence[SecretReference]) -> dict[str, str]:
    """The variables that carry the secrets. Raises InvalidError for one without a value, and for one that is not named.

    One whose variable is in this environment already needs no value.
    """
    values = dict(_read(text) for text in given)
    for name in values.keys() - {reference.name for reference in references}:
        named = ", ".join(sorted({reference.name for reference in references})) or "none"
        raise InvalidError(f"the pipeline names no secret {name!r}; it names {named}")
    missing = [one for one in references if one.name not in values and one.env not in os.environ]
    if missing:
        name, variable = missing[0].name, missing[0].env
        raise InvalidError(
            f"the pipeline needs secret {name!r}; give its value by --secret {name}=env:VARIABLE or "
            f"--secret {name}=file:PATH, or set {variable}"
        )
    return {one.env: values[one.name] if one.name in values else os.environ[one.env] for one in references}


def _read(text: str) -> tuple[str, str]:
    name, equals, source = text.partition("=")
    kind, colon, where = source.partition(":")
    if not (name and equals and colon and where) or kind not in ("env", "file"):
        # The text may hold a value, so it is not repeated.
        raise InvalidError("--secret is NAME=env:VARIABLE or NAME=file:PATH; a value itself is never an argument")
    return name, of_variable(where) if kind == "env" else _of_file(where)


def of_variable(variable: str) -> str:
    """Raises InvalidError where it is not set."""
    if variable not in os.environ:
        raise InvalidError(f"variable {variable!r} is not in this environment")
    return os.environ[variable]


def _of_file(path: str) -> str:
    try:
        return without_line_end(Path(path).read_bytes()).decode()
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "is not UTF-8 text"
        raise InvalidError(f"the secret's file {path} cannot be read: {why}") from None


def without_line_end(data: bytes) -> bytes:
    """Without the last one, which editors and `echo` add."""
    return data.removesuffix(b"\r\n") if data.endswith(b"\r\n") else data.removesuffix(b"\n")
