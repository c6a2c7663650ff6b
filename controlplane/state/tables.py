"""The tables, derived from the row classes of `controlplane.model` by one mapping, and rows to parameters and back.

A str is text (compared by code point on every backend), an int and a datetime (microseconds) a 64-bit integer, bytes
are bytes, an enum its value; an optional field is nullable; mappings, tuples and dataclasses are JSON text. A migration
makes the same tables step by step; a test holds the two against each other.
"""

from __future__ import annotations

import dataclasses
import json
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, cast

import sqlalchemy as sa

from controlplane import model
from controlplane.model import Row
from controlplane.state.shapes import Shape, field_types, load_field, optional_part, shape_of
from headrace.errors import InvalidError, UnavailableError

METADATA = sa.MetaData()

RowClass = type[Any]
"""One of the classes of `Row`: of a union, mypy takes no class that is named by a type variable."""

TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
"""Sorts by code point, as SQLite does anyway."""
INTEGER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
"""64 bits; SQLite's `INTEGER` is that, and a key of it is the row's own address."""

NAMES: Mapping[RowClass, str] = {
    model.PlaneRow: "plane",
    model.PipelineRow: "pipelines",
    model.RevisionRow: "revisions",
    model.BlobRow: "blobs",
    model.AgentRow: "agents",
    model.SessionRow: "sessions",
    model.ObservedRow: "observed",
    model.TransitionRow: "transitions",
    model.TokenRow: "tokens",
    model.ApplicationRow: "applications",
    model.CertificateRow: "certificates",
    model.AuthorityRow: "authorities",
    model.UserRow: "users",
    model.VariableRow: "variables",
    model.SecretRow: "secrets",
    model.CommandRow: "commands",
    model.ChangeRow: "changes",
    model.EventRow: "events",
}

INDEXES: Mapping[RowClass, tuple[tuple[str, ...], ...]] = {
    model.RevisionRow: (("sha256",),),
    model.AgentRow: (("name",),),
    model.SessionRow: (("replica",),),
    model.ObservedRow: (("pipeline",),),
    model.TransitionRow: (("pipeline", "revision"), ("agent_id", "revision")),
    model.ApplicationRow: (("public_key",),),
    model.CertificateRow: (("agent_id",), ("authority",)),
    model.CommandRow: (("agent_id",),),
    model.EventRow: (("pipeline", "revision"), ("agent_id", "revision")),
}


@dataclass(frozen=True, slots=True)
class Field:
    """One field of a row class as a column: its SQL type, and how its value becomes a parameter and back."""

    name: str
    type: sa.types.TypeEngine[Any]
    nullable: bool
    dump: Callable[[Any], Any]
    load: Callable[[Any], Any]


class RowTable:
    """One row class and its table."""

    def __init__(self, row: RowClass, name: str) -> None:
        self.row = row
        self.name = name
        self.key: tuple[str, ...] = row.KEY
        defaults = {field.name: field.default for field in dataclasses.fields(row)}
        self.fields = {
            field_name: _field(field_name, kind, defaults[field_name]) for field_name, kind in field_types(row).items()
        }
        self._items = tuple(self.fields.values())
        self.table = sa.Table(
            name,
            METADATA,
            *(
                sa.Column(
                    field.name,
                    field.type,
                    primary_key=field.name in self.key,
                    nullable=field.nullable,
                    autoincrement=False,
                )
                for field in self._items
            ),
            *(sa.Index(f"{name}_by_{'_'.join(columns)}", *columns) for columns in INDEXES.get(row, ())),
        )

    @property
    def byte_fields(self) -> tuple[str, ...]:
        """Fields by which one row may be many megabytes."""
        return tuple(field.name for field in self._items if isinstance(field.type, sa.LargeBinary))

    def dump(self, row: Row) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """A row's key and its parameters, one for each column. Raises InvalidError for what no column can hold."""
        parameters = {}
        for field in self._items:
            value = getattr(row, field.name)
            try:
                parameters[field.name] = _storable(field.dump(value))
            except (ValueError, AttributeError, TypeError) as error:
                raise self._refusal(field.name, value, error) from error
        return tuple([parameters[name] for name in self.key]), parameters

    def parameter(self, name: str, value: Any) -> Any:
        """One field's value as a parameter. Raises InvalidError for what no column can hold."""
        if name not in self.fields:
            raise TypeError(f"{self.row.__name__} has no field {name!r}")
        try:
            return _storable(self.fields[name].dump(value))
        except (ValueError, AttributeError, TypeError) as error:
            raise self._refusal(name, value, error) from error

    def load(self, values: sa.Row[Any]) -> Row:
        """A row of the table, selected in the order of the fields. Raises UnavailableError for what cannot be read."""
        try:
            loaded = {field.name: field.load(value) for field, value in zip(self._items, values, strict=True)}
        except ValueError as error:
            raise UnavailableError(
                f"table {self.name!r} holds a row that this version cannot read: {error}; "
                "if a newer version wrote it, run that one"
            ) from error
        return cast("Row", self.row(**loaded))

    def _refusal(self, name: str, value: object, error: Exception) -> InvalidError:
        return InvalidError(f"{self.name}.{name} cannot hold {value!r:.80}: {error}")


def table_of(row: RowClass) -> RowTable:
    """The table of a row class."""
    return TABLES[row]


def _field(name: str, kind: Any, default: Any) -> Field:
    part = optional_part(kind)
    shape, scalar = shape_of(kind), part or kind
    for candidate, column in _COLUMNS.items():
        if isinstance(scalar, type) and issubclass(scalar, candidate):
            dump, load = (_same, _same) if scalar in _AS_THEY_ARE else (shape.dump, _tolerant(name, shape, default))
            return Field(name, column, part is not None, dump, load)
    return Field(name, TEXT, part is not None, _to_json(shape), _from_json(name, shape))


_COLUMNS: dict[type, sa.types.TypeEngine[Any]] = {
    StrEnum: TEXT,
    str: TEXT,
    bool: sa.Boolean(),
    int: INTEGER,
    bytes: sa.LargeBinary(),
    datetime: INTEGER,
}
_AS_THEY_ARE = (str, bool, int, bytes)


def _same(value: Any) -> Any:
    return value


def _tolerant(name: str, shape: Shape, default: Any) -> Callable[[Any], Any]:
    return lambda plain: load_field(name, shape, default, plain)


_encode = json.JSONEncoder(separators=(",", ":")).encode


def _to_json(shape: Shape) -> Callable[[Any], str]:
    # ASCII, so that text of any kind, even half a surrogate pair, comes back as it was on every backend.
    return lambda value: _encode(shape.dump(value))


def _from_json(name: str, shape: Shape) -> Callable[[str], Any]:
    return lambda text: load_field(name, shape, dataclasses.MISSING, json.loads(text))


def _storable(value: Any) -> Any:
    """The same value, where every backend can hold it."""
    if isinstance(value, str):
        if "\0" in value:
            raise ValueError("text must not contain the character NUL; leave it out")
        if not value.isascii():
            value.encode()  # half a surrogate pair has no UTF-8; the error is a ValueError that names the position
    elif isinstance(value, int) and not -(1 << 63) <= value < 1 << 63:
        raise ValueError("a number must fit into 64 bits")
    return value


TABLES: Mapping[RowClass, RowTable] = {row: RowTable(row, name) for row, name in NAMES.items()}
BY_NAME: Mapping[str, RowTable] = {table.name: table for table in TABLES.values()}

SCHEMA_COMPATIBILITY = sa.Table("schema_compatibility", METADATA, sa.Column("oldest", TEXT, nullable=False))
"""See `controlplane.state.migrate`."""

assert set(TABLES) == set(typing.get_args(Row)), "every row class has a table"
