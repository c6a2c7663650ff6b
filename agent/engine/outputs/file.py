"""Output `file`: appends records to a file named by `path` and `file`, or by the tag."""

import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from agent.engine.config import BOOLEAN, STRING, InvalidProperty, option
from agent.engine.encode import json_text, metrics_text, plain_text, seconds_text
from agent.engine.plugin import Context, PluginError, Result
from agent.engine.record import NANOSECONDS, Batch
from agent.engine.registry import outputs

_DELIMITERS = {"\\t": "\t", "tab": "\t", "space": " ", "comma": ","}
_PLACE = re.compile(r"\{([^{}]*)\}")


@dataclass(frozen=True, slots=True, kw_only=True)
class FileConfig:
    """What the file output takes."""

    path: str | None = option(STRING, help="folder of the file")
    file: str | None = option(STRING, help="name of the file; without it the tag")
    format: str = option(
        STRING, "out_file", choices=("out_file", "plain", "csv", "ltsv", "template"), help="how a record is written"
    )
    delimiter: str | None = option(STRING, help="between values: tab, space or comma (csv: comma, ltsv: tab)")
    label_delimiter: str | None = option(
        STRING, help="for ltsv, between label and value: tab, space or comma, else ':'"
    )
    template: str = option(STRING, "{time} {message}", help="for template: text with keys in braces")
    csv_column_names: bool = option(
        BOOLEAN, False, help="for csv: start a file with the names of the first record's keys"
    )
    mkdir: bool = option(BOOLEAN, False, help="make missing folders")


REFUSED = (
    "enable_strftime",
    "max_dynamic_files",
    "on_missing_field",
    "on_limit_reached",
    "fallback_path",
    "fallback_file",
    "rotate",
    "rotate_max_size",
    "rotate_max_files",
    "rotate_gzip",
)


@outputs.register("file", FileConfig, refused=REFUSED, signals=("logs", "metrics"))
class File:
    """Appends to files."""

    def __init__(self, config: FileConfig, context: Context) -> None:
        for name, value in (("path", config.path), ("file", config.file)):
            if value and "$" in value:
                raise InvalidProperty(name, "record accessors in file names are not implemented by the embedded engine")
        self._config = config
        self._escape = context.escape_unicode
        self._delimiter = _delimiter(config.delimiter) or ("\t" if config.format == "ltsv" else ",")
        self._label = _delimiter(config.label_delimiter) or ":"
        formats: dict[str, Callable[[Batch], bytes]] = {
            "out_file": self._tagged,
            "plain": self._plain,
            "csv": self._csv,
            "ltsv": self._ltsv,
            "template": self._template,
        }
        self._encode = formats[config.format]

    async def open(self) -> None:
        folder = Path(self._config.path) if self._config.path else None
        if folder is not None and folder.exists() and not folder.is_dir():
            raise PluginError(f"path {str(folder)!r} is not a folder")

    async def write(self, batch: Batch) -> Result:
        data = self._encode(batch) if batch.signal == "logs" else metrics_text(batch)
        target = Path(self._config.path or "") / (self._config.file or file_name(batch.tag))
        try:
            fd = os.open(target, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except FileNotFoundError:
            if not self._config.mkdir:
                raise
            target.parent.mkdir(parents=True, exist_ok=True)
            fd = os.open(target, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            size = os.fstat(fd).st_size
            if batch.signal == "logs" and self._config.csv_column_names and self._config.format == "csv" and size == 0:
                data = self._column_names(batch) + data
            _append(fd, data, size)
        finally:
            os.close(fd)
        return Result.OK

    async def close(self) -> None:
        pass

    def _tagged(self, batch: Batch) -> bytes:
        tag, escape = batch.tag, self._escape
        return b"".join(
            b"%s: [%d.%09d, %s]\n"
            % (tag.encode(), when // NANOSECONDS, when % NANOSECONDS, json_text(record, escape_unicode=escape))
            for when, record in zip(batch.times, batch.records, strict=True)
        )

    def _plain(self, batch: Batch) -> bytes:
        escape = self._escape
        return b"".join([json_text(record, escape_unicode=escape) + b"\n" for record in batch.records])

    def _csv(self, batch: Batch) -> bytes:
        return "".join(
            self._delimiter.join([seconds_text(when), *map(plain_text, record.values())]) + "\n"
            for when, record in zip(batch.times, batch.records, strict=True)
            if record
        ).encode("utf-8", "replace")

    def _column_names(self, batch: Batch) -> bytes:
        names = [plain_text(key) for key in batch.records[0]]
        return (self._delimiter.join(["timestamp", *names]) + "\n").encode()

    def _ltsv(self, batch: Batch) -> bytes:
        label = self._label
        return "".join(
            self._delimiter.join(
                [
                    f'"time"{label}{when / NANOSECONDS:f}',
                    *(f"{plain_text(k)}{label}{plain_text(v)}" for k, v in record.items()),
                ]
            )
            + "\n"
            for when, record in zip(batch.times, batch.records, strict=True)
            if record
        ).encode("utf-8", "replace")

    def _template(self, batch: Batch) -> bytes:
        lines = []
        for when, record in zip(batch.times, batch.records, strict=True):

            def value(found: re.Match[str], when: int = when, record: dict[str, object] = record) -> str:
                if found[1] == "time":
                    return f"{when / NANOSECONDS:f}"
                if found[1] not in record:
                    return found[0]
                written = record[found[1]]
                return written if isinstance(written, str) else plain_text(written)

            lines.append(_PLACE.sub(value, self._config.template) + "\n")
        return "".join(lines).encode("utf-8", "replace")


def file_name(tag: str) -> str:
    """A file name, with folders where the tag has slashes, that cannot leave the output's folder."""
    parts = [part for part in re.split(r"[/\\]+", tag) if part]
    safe = ["_" if part in (".", "..") else re.sub(r"[^A-Za-z0-9_.-]", "_", part) for part in parts]
    return "/".join(safe) or "_"


def _delimiter(text: str | None) -> str | None:
    return _DELIMITERS.get(text.lower()) if text else None


def _append(fd: int, data: bytes, size: int) -> None:
    """Write all or nothing, so that a chunk that is tried again is not in the file one and a half times."""
    left = memoryview(data)
    try:
        while left:
            left = left[os.write(fd, left) :]
    except OSError:
        os.ftruncate(fd, size)
        raise
