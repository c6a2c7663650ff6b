"""The systemd input: a journalctl that follows, its entries as records, and the cursor that is delivered.

journalctl is started at the cursor that was read last, so whatever ends it costs no entry; it is started again after a
pause that grows while nothing comes. An entry's cursor is committed when the outputs have the entry and all before it.
"""

import asyncio
import re
import shutil
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from agent.engine.child import end
from agent.engine.config import BOOLEAN, INTEGER, STRING, InvalidProperty, option
from agent.engine.database import SYNC
from agent.engine.inputs.systemd.cursors import Cursors
from agent.engine.inputs.systemd.export import Entry, ExportReader
from agent.engine.plugin import Context, Inlet, PluginError
from agent.engine.record import Batch
from agent.engine.registry import inputs

PAUSES = (1.0, 60.0)
"""Seconds before journalctl is started again: at first, and at most."""

_MATCH = re.compile(r"(?!__)[A-Z0-9_]+=.*", re.DOTALL)


@dataclass(frozen=True, slots=True, kw_only=True)
class SystemdConfig:
    """What the systemd input takes."""

    path: str | None = option(STRING, help="folder with the journal's files; without it the journal of this machine")
    max_fields: int = option(INTEGER, 8000, help="fields of an entry that are taken")
    max_entries: int = option(INTEGER, 5000, help="entries that travel together at most")
    systemd_filter: tuple[str, ...] = option(
        STRING, (), repeated=True, help="entries to take: FIELD=value, such as _SYSTEMD_UNIT=ssh.service"
    )
    systemd_filter_type: str = option(
        STRING, "or", choices=("and", "or"), help="whether an entry must match all of the filters or one"
    )
    read_from_tail: bool = option(BOOLEAN, False, help="begin with what comes after the start")
    lowercase: bool = option(BOOLEAN, False, help="names of fields in lower case")
    strip_underscores: bool = option(BOOLEAN, False, help="names of fields without the underscore that they begin with")
    db: str | None = option(STRING, help="database of the cursor, so that a restart goes on where the last run ended")
    db_sync: str | None = option(STRING, name="db.sync", choices=SYNC, help="how safely it is written")


@inputs.register("systemd", SystemdConfig)
class Systemd:
    """Follows the journal of systemd."""

    def __init__(self, config: SystemdConfig, context: Context) -> None:
        for name, number in (("max_fields", config.max_fields), ("max_entries", config.max_entries)):
            if number <= 0:
                raise InvalidProperty(name, "expected at least 1")
        for match in config.systemd_filter:
            if not _MATCH.fullmatch(match):
                raise InvalidProperty("systemd_filter", f"{match!r} is not FIELD=value with a field in upper case")
        self._config = config
        self._context = context
        self._needed = [tuple(match.split("=", 1)) for match in config.systemd_filter]
        self._program = ""
        self._cursors = Cursors(None)
        self._is_open = False
        self._began = False
        self._key = ("systemd", str(Path(config.db).absolute())) if config.db else ("systemd in memory", context.name)

    async def open(self) -> None:
        config = self._config
        self._program = shutil.which("journalctl") or ""
        if not self._program:
            raise PluginError("journalctl is not found in PATH; it comes with systemd")
        if config.path is not None and not Path(config.path).is_dir():
            raise PluginError(f"path {config.path!r} is not a folder; name the one with the journal's files")
        self._cursors = self._context.resources.acquire(
            self._key, lambda: Cursors(Path(config.db) if config.db else None, sync=config.db_sync)
        )
        self._is_open = True

    async def run(self, inlet: Inlet) -> None:
        pause = PAUSES[0]
        while True:
            before = self._cursors.read
            try:
                why = await self._follow(inlet)
            except OSError as error:
                why = f"cannot be run: {error}"
            pause = PAUSES[0] if self._cursors.read != before else pause
            self._context.log.error("journalctl %s; it is started again in %g seconds", why, pause)
            await asyncio.sleep(pause)
            pause = min(2 * pause, PAUSES[1])

    async def close(self) -> None:
        if self._is_open:
            self._is_open = False
            self._context.resources.release(self._key)

    async def _follow(self, inlet: Inlet) -> str:
        """Hand entries over until journalctl ends; says how it ended."""
        if self._config.read_from_tail and not self._began and not self._cursors.read:
            await self._skip_what_is_there()
        self._began = True
        where = [f"--cursor={self._cursors.read}"] if self._cursors.read else []
        process = await self._start("--follow", "--no-tail", *where)
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._tell_errors(process), name="errors of journalctl")
                await self._read(process, inlet)
                code = await process.wait()
        finally:
            await end(process)
        return f"ended with status {code}"

    async def _skip_what_is_there(self) -> None:
        process = await self._start("--lines=1", "--quiet")
        try:
            said, _ = await process.communicate()
        finally:
            await end(process)
        for entry in ExportReader().feed(said):
            self._cursors.advance(entry.cursor)()

    async def _start(self, *flags: str) -> Process:
        config = self._config
        folder = [f"--directory={config.path}"] if config.path is not None else []
        matches = list(config.systemd_filter)
        if config.systemd_filter_type == "or":
            matches = [word for match in matches for word in ("+", match)][1:]
        command = [self._program, "--output=export", "--no-pager", *folder, *flags, "--", *matches]
        return await asyncio.create_subprocess_exec(
            *command, stdin=DEVNULL, stdout=PIPE, stderr=PIPE, start_new_session=True
        )

    async def _tell_errors(self, process: Process) -> None:
        assert process.stderr is not None
        while said := await process.stderr.read(4096):
            for line in said.decode("utf-8", "replace").splitlines():
                self._context.log.warning("journalctl: %s", line)

    async def _read(self, process: Process, inlet: Inlet) -> None:
        assert process.stdout is not None
        reader, cursors = ExportReader(), self._cursors
        while data := await process.stdout.read(65536):
            entries = [entry for entry in reader.feed(data) if entry.cursor != cursors.read and self._is_meant(entry)]
            for batch, cursor in self._batches(entries):
                confirm = cursors.advance(cursor)  # in the turn in which the records are taken
                if cursors.durable:
                    await inlet.push(batch, confirm)
                else:
                    confirm()
                    await inlet.push(batch)

    def _is_meant(self, entry: Entry) -> bool:
        """Whether all filters match, where they must: journalctl takes one of several values of the same field."""
        return self._config.systemd_filter_type == "or" or all(match in entry.fields for match in self._needed)

    def _batches(self, entries: Iterable[Entry]) -> Iterator[tuple[Batch, str]]:
        """Entries of one tag after the other, and the cursor of the last of each."""
        config = self._config
        for tag, run in groupby(entries, self._tag):
            together = list(run)
            for start in range(0, len(together), config.max_entries):
                some = together[start : start + config.max_entries]
                records = [
                    entry.record(
                        max_fields=config.max_fields,
                        lowercase=config.lowercase,
                        strip_underscores=config.strip_underscores,
                    )
                    for entry in some
                ]
                size = sum(entry.size for entry in some)
                yield Batch(tag, [entry.time for entry in some], records, None, size), some[-1].cursor

    def _tag(self, entry: Entry) -> str:
        """The tag, with the entry's unit in place of the first `*`."""
        if "*" not in self._context.tag:
            return self._context.tag
        return self._context.tag.replace("*", entry.first("_SYSTEMD_UNIT") or "unknown", 1)
