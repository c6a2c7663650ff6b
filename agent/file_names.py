"""Whether a pipeline's files can lie in its folder together; what each may be called is `headrace.file_names`. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from headrace.file_names import objection
from headrace.types import Fault, File


def name_faults(files: Iterable[File]) -> tuple[Fault, ...]:
    """What is wrong with the names of a pipeline's files."""
    names = [file.name for file in files]
    faults = [Fault(message=f"file {name!r} {wrong}", file=name) for name in names if (wrong := objection(name))]
    folders = {"/".join(name.split("/")[:depth]) for name in names for depth in range(1, name.count("/") + 1)}
    faults += [
        Fault(message=f"file {name!r} is also the folder of another file", file=name)
        for name in names
        if name in folders
    ]
    return tuple(faults)
