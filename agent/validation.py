"""Validates a configuration file as an agent on this host would, without running it."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path

from agent.environment import known_variables
from agent.folders import Folder
from agent.model import Plane
from agent.preparation import prepare
from agent.runtimes import Launch, find_runtimes, resolve
from agent.runtimes.render import render
from agent.settings import Settings, SettingsError
from headrace.content import Content
from headrace.types import Fault, File


async def validate_file(path: Path, settings: Settings, environment: Mapping[str, str]) -> tuple[Fault, ...]:
    """Every fault; files beside the configuration stand for those that a pipeline would bring along."""
    try:
        text = path.read_text()
        beside = tuple(
            File(name=each.name, content=each.read_bytes())
            for each in sorted(path.parent.iterdir())
            if each.is_file() and each.suffix in (".conf", ".yaml", ".yml", ".lua") and each != path
        )
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"configuration {path} cannot be read: {error}") from error
    runtimes = await find_runtimes(settings.engine, fluent_bit=settings.fluent_bit, environment=environment)
    runtime = resolve(settings.engine, runtimes)
    assert runtime is not None
    with tempfile.TemporaryDirectory(prefix="headrace-") as name:
        folder = Folder(Path(name))
        prepared = prepare(
            Content(engine=settings.engine, config=text, files=beside),
            known=known_variables(agent=settings.name, plane=Plane(labels=settings.labels), own=environment),
            engine=runtime.info,
            policy=settings.policy,
            folder=name,
            version="",
        )
        faults = (*prepared.render_faults, *prepared.faults)
        if faults or prepared.document is None:
            return faults
        rendered = render(prepared.document, engine=runtime.info.engine, port=0, storage=str(folder.data))
        config = folder.write("trial", beside, name=rendered.name, text=rendered.text)
        launch = Launch(
            folder=folder.path,
            config=config,
            sha256=rendered.sha256,
            environment=prepared.environment.values,
            port=0,
            log=folder.log,
            lock=folder.lock,
        )
        return await runtime.validate(launch)
