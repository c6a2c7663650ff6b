"""`diff`: what `apply` would change, as a unified diff against what is live. Exit 0 same, 1 different, 2 trouble."""

from __future__ import annotations

import difflib
import hashlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import typer

from headrace.cli import options
from headrace.cli.exits import Exit, complain, exit_of, printable
from headrace.cli.output import show_lines, yaml_text
from headrace.cli.target import talk
from headrace.errors import HeadraceError, NotFoundError

if TYPE_CHECKING:
    from headrace.api import Manifest, Pipeline
    from headrace.cli.manifest import Source
    from headrace.management import ManagementClient
    from headrace.types import File


def diff(
    context: typer.Context,
    file: options.Files = None,
    recursive: options.Recursive = False,
    name: options.Name = "",
    selector: options.Target = "",
) -> None:
    """Show what apply would change; exit 0 when nothing, 1 when something, more when it cannot be told."""
    from headrace.cli import sources

    async def action(client: ManagementClient) -> list[str]:
        found = sources.load(file, name=name, selector=selector, recursive=recursive)
        return [line for source in found for line in _compare(await _live(client, source.manifest.name), source)]

    try:
        lines = talk(context, action)
    except HeadraceError as error:
        complain(error)
        code = exit_of(error)
        raise typer.Exit(Exit.USAGE if code is Exit.REFUSED else code) from error
    show_lines(lines)
    if lines:
        raise typer.Exit(1)


def unified(old: Manifest | None, new: Manifest | None, *, old_name: str, new_name: str) -> list[str]:
    """The lines of a unified diff of two manifests; None stands for one that is not there."""
    before, after = (text_of(manifest).removesuffix("\n").split("\n") if manifest else [] for manifest in (old, new))
    return [
        printable(line)
        for line in difflib.unified_diff(
            before,
            after,
            fromfile=old_name if old else "/dev/null",
            tofile=new_name if new else "/dev/null",
            lineterm="",
        )
    ]


def text_of(manifest: Manifest) -> str:
    """A manifest as a pipeline file, the same text for the same manifest; files that are not text by their hash."""
    from headrace.cli.manifest import API_VERSION, KIND

    metadata: dict[str, Any] = {"name": manifest.name}
    if manifest.labels:
        metadata["labels"] = dict(sorted(manifest.labels.items()))
    if manifest.description:
        metadata["description"] = manifest.description
    spec: dict[str, Any] = {"selector": manifest.selector, "engine": manifest.engine, "config": manifest.config}
    if manifest.files:
        spec["files"] = {file.name: _file(file) for file in sorted(manifest.files, key=lambda file: file.name)}
    if manifest.secrets:
        spec["secrets"] = [{"name": secret.name, "env": secret.env} for secret in manifest.secrets]
    return yaml_text({"apiVersion": API_VERSION, "kind": KIND, "metadata": metadata, "spec": spec})


def _file(file: File) -> dict[str, Any]:
    try:
        return {"content": file.content.decode()}
    except UnicodeDecodeError:
        return {"size": len(file.content), "sha256": hashlib.sha256(file.content).hexdigest()}


async def _live(client: ManagementClient, name: str) -> Pipeline | None:
    try:
        return await client.get_pipeline(name)
    except NotFoundError:
        return None


def _compare(live: Pipeline | None, source: Source) -> Iterator[str]:
    name = source.manifest.name
    yield from unified(
        live.manifest if live else None,
        source.manifest,
        old_name=f"live/{name} (revision {live.revision})" if live else "",
        new_name=f"{source.position.file} ({name})",
    )
