"""The form in which a whole state leaves one store and enters another: gzipped JSON lines, the same for every backend.

A header (form, version, time, counters), one line for each row, and a last line with the number of rows in each table,
so that a dump that was cut short is known by it. Both ways memory holds a page of rows, not the state.
"""

from __future__ import annotations

import json
import zlib
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Iterator
from datetime import datetime
from typing import Any, cast

from controlplane.model import PlaneRow, Row, Topic
from controlplane.state.shapes import from_microseconds, shape_of, to_microseconds
from controlplane.state.tables import BY_NAME, TABLES, RowClass, RowTable
from controlplane.state.transaction import SqlReader, SqlTransaction
from headrace.errors import InvalidError

FORM = "headrace state"
VERSION = 1
"""Grows when an older version could not load what is written; unknown fields of a row do no harm."""

PAGE_ROWS = 500
PAGE_BYTES = 4 << 20
LINE_BYTES = 128 << 20
"""A blob of 64 MiB, and more."""
_CHUNK = 1 << 20
_GZIP = 16 + zlib.MAX_WBITS


async def pieces(reader: SqlReader, *, at: datetime) -> AsyncGenerator[bytes, None]:
    """The whole state as the reader sees it."""
    gzip = zlib.compressobj(wbits=_GZIP)
    plane = shape_of(PlaneRow).dump(await reader.plane())
    yield gzip.compress(_line({"form": FORM, "version": VERSION, "at": to_microseconds(at), "plane": plane}))
    counts: Counter[str] = Counter()
    for row in TABLES:
        if row is not PlaneRow:
            async for page in _pages(reader, row):
                counts[TABLES[row].name] += len(page)
                yield gzip.compress(b"".join(_row_line(TABLES[row], one) for one in page))
    yield gzip.compress(_line({"end": counts})) + gzip.flush()


class Contents:
    """A dump, read as far as its header; `batches` reads on, once.

    Raises InvalidError, here and from `batches`, for what is no dump, is cut short, or is of a newer version.
    """

    def __init__(self, pieces: Iterable[bytes]) -> None:
        self._lines = _lines(pieces)
        header = next(self._lines, {})
        if header.get("form") != FORM:
            raise InvalidError(f"this is no dump of a {FORM}; give a file that `headrace backup` made")
        if header.get("version") != VERSION:
            raise InvalidError(
                f"the dump has version {header.get('version')!r} and this Headrace reads version {VERSION}; "
                "use the Headrace that made it, or a newer one"
            )
        try:
            self.at: datetime = from_microseconds(header.get("at"))
            self.plane: PlaneRow = shape_of(PlaneRow).load(header.get("plane"))
        except ValueError as error:
            raise InvalidError(f"the dump's header is damaged: {error}") from error
        self.counts: Counter[str] = Counter()

    def batches(self) -> Iterator[list[Row]]:
        """All rows, some at a time."""
        batch: list[Row] = []
        size = 0
        for number, line in enumerate(self._lines, start=2):
            if "end" in line:
                self._check_end(line["end"])
                yield batch
                return
            table, row = _read_row(number, line)
            self.counts[table.name] += 1
            batch.append(row)
            # The row's own bytes tell best how much memory it takes.
            size += sum(len(getattr(row, name)) for name in table.byte_fields)
            if len(batch) >= PAGE_ROWS or size >= PAGE_BYTES:
                yield batch
                batch, size = [], 0
        raise InvalidError("the dump is cut short: its last line is missing; use another backup")

    def _check_end(self, counts: Any) -> None:
        if counts != self.counts:
            raise InvalidError(f"the dump is damaged: it holds {dict(self.counts)} rows, and says {counts}")
        if next(self._lines, None) is not None:
            raise InvalidError("the dump is damaged: something follows its end")


async def restore(transaction: SqlTransaction, contents: Contents) -> None:
    """Replaces all rows by those of the dump.

    Every counter goes on from the greater of the two, so that no number is given out twice, in a new epoch.
    """
    before, dumped = await transaction.plane(), contents.plane
    await transaction.clear()
    for rows in contents.batches():
        await transaction.put(*rows)
        await transaction.flush()
    transaction.count_from(
        PlaneRow(
            instance_id=dumped.instance_id,
            epoch=max(before.epoch, dumped.epoch),
            fleet_revision=max(before.fleet_revision, dumped.fleet_revision),
            generation=max(before.generation, dumped.generation),
        )
    )
    epoch = transaction.next_epoch()
    found = ", ".join(f"{count} {name}" for name, count in contents.counts.items()) or "no rows"
    transaction.event(
        "plane.restored",
        f"restored from a dump of {contents.at.isoformat(timespec='seconds')}, instance {dumped.instance_id}, "
        f"epoch {dumped.epoch}, fleet revision {dumped.fleet_revision}: {found}; the epoch is now {epoch}",
    )
    transaction.log(Topic.PLANE, dumped.instance_id)


async def _pages(reader: SqlReader, row: RowClass) -> AsyncIterator[list[Row]]:
    limit = 1 if TABLES[row].byte_fields else PAGE_ROWS
    page = await reader.page(row, limit=limit)
    while page:
        yield page
        page = await reader.page(row, limit=limit, after=page[-1])


def _row_line(table: RowTable, row: Row) -> bytes:
    return _line({"table": table.name, "row": shape_of(table.row).dump(row)})


def _line(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode("ascii") + b"\n"


def _read_row(number: int, line: dict[str, Any]) -> tuple[RowTable, Row]:
    table = BY_NAME.get(str(line.get("table")))
    if table is None or table.row is PlaneRow:
        raise InvalidError(f"the dump's line {number} is not understood: there is no table {line.get('table')!r}")
    try:
        return table, cast("Row", shape_of(table.row).load(line.get("row")))
    except ValueError as error:
        raise InvalidError(f"the dump's line {number} is damaged: {error}") from error


def _lines(pieces: Iterable[bytes]) -> Iterator[dict[str, Any]]:
    """Each line as an object, decompressed as it is needed."""
    begun: list[bytes] = []
    for chunk in _inflated(pieces):
        first, *others = chunk.split(b"\n")
        begun.append(first)
        if sum(map(len, begun)) > LINE_BYTES:
            raise InvalidError(f"this is no dump: a line of it is longer than {LINE_BYTES >> 20} MiB")
        for other in others:
            yield _object(b"".join(begun))
            begun = [other]
    if any(begun):
        raise InvalidError("the dump is cut short: its last line has no end; use another backup")


def _object(line: bytes) -> dict[str, Any]:
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise InvalidError(f"this is no dump: {line[:40]!r} is no line of one")
    return value


def _inflated(pieces: Iterable[bytes]) -> Iterator[bytes]:
    gzip = zlib.decompressobj(wbits=_GZIP)
    try:
        for piece in pieces:
            if gzip.eof and piece:
                raise InvalidError("the dump is damaged: something follows its end")
            # A chunk at a time, however much a hostile piece would unfold to.
            while piece:
                yield gzip.decompress(piece, _CHUNK)
                piece = gzip.unconsumed_tail
    except zlib.error as error:
        raise InvalidError(f"this is no dump, or a damaged one: {error}; use another backup") from error
    if gzip.unused_data:
        raise InvalidError("the dump is damaged: something follows its end")
    if not gzip.eof:
        raise InvalidError("the dump is cut short; use another backup")
