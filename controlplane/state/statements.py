"""Every SQL statement over rows, as SQLAlchemy expressions that are built once and used on every backend.

A statement's parameters are named as its columns, but for what `Statements` says. The two places in which dialects
differ are given to the constructor.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import Any, Protocol, TypeVar

import sqlalchemy as sa

from controlplane.model import PlaneRow
from controlplane.state.tables import RowClass, table_of

S = TypeVar("S")


class Dialect(Protocol):
    """What SQLite and Postgres say differently."""

    def upsert(self, table: sa.Table, key: Sequence[str], values: Sequence[str]) -> sa.Insert:
        """Insert, or by primary key set the values."""

    def among(self, column: sa.ColumnElement[Any], parameter: str) -> sa.ColumnElement[bool]:
        """Whether the column is one of the values that are given in one parameter."""

    def values(self, values: Sequence[Any]) -> Any:
        """These values as that parameter."""


class Statements:
    """Made once per store; each statement keeps its identity, so that SQLAlchemy compiles it once."""

    def __init__(self, dialect: Dialect) -> None:
        self._dialect = dialect
        self._made: dict[Hashable, Any] = {}
        plane = table_of(PlaneRow).table
        self.lock_plane = sa.select(plane).where(plane.c.id == 1).with_for_update()
        """Postgres waits for the row here; SQLite ignores the clause and holds its write lock from BEGIN."""

    def get(self, row: RowClass) -> sa.Select[Any]:
        """By primary key."""

        def make() -> sa.Select[Any]:
            table = table_of(row)
            return sa.select(table.table).where(*(table.table.c[name] == sa.bindparam(name) for name in table.key))

        return self._once(("get", row), make)

    def find(self, row: RowClass, where: tuple[tuple[str, str], ...]) -> sa.Select[Any]:
        """By (column, comparison) with the comparisons `equal`, `among` and `null`, in order of the key."""

        def make() -> sa.Select[Any]:
            table = table_of(row)
            order = [table.table.c[name] for name in table.key]
            return sa.select(table.table).where(*self._conditions(table.table, where)).order_by(*order)

        return self._once(("find", row, where), make)

    def scan(self, row: RowClass, where: tuple[tuple[str, str], ...], *, bounded: bool, newest: bool) -> sa.Select[Any]:
        """Rows of a log with `after_ < revision`, `< before_` when bounded, and at most `limit_`."""

        def make() -> sa.Select[Any]:
            table = table_of(row).table
            revision = table.c.revision
            conditions = [revision > sa.bindparam("after_"), *self._conditions(table, where)]
            if bounded:
                conditions.append(revision < sa.bindparam("before_"))
            order = revision.desc() if newest else revision.asc()
            return sa.select(table).where(*conditions).order_by(order).limit(sa.bindparam("limit_", type_=sa.Integer))

        return self._once(("scan", row, where, bounded, newest), make)

    def page(self, row: RowClass, *, first: bool) -> sa.Select[Any]:
        """The next `limit_` rows in order of the key, after the key given as columns unless it is the first page."""

        def make() -> sa.Select[Any]:
            table = table_of(row)
            key = [table.table.c[name] for name in table.key]
            page = sa.select(table.table).order_by(*key).limit(sa.bindparam("limit_", type_=sa.Integer))
            if first:
                return page
            return page.where(sa.tuple_(*key) > sa.tuple_(*(sa.bindparam(c.name, type_=c.type) for c in key)))

        return self._once(("page", row, first), make)

    def upsert(self, row: RowClass) -> sa.Insert:
        """Inserts or replaces by primary key."""

        def make() -> sa.Insert:
            table = table_of(row)
            rest = [name for name in table.fields if name not in table.key]
            return self._dialect.upsert(table.table, table.key, rest)

        return self._once(("upsert", row), make)

    def delete(self, row: RowClass) -> sa.Delete:
        """By primary key."""

        def make() -> sa.Delete:
            table = table_of(row)
            return sa.delete(table.table).where(*(table.table.c[name] == sa.bindparam(name) for name in table.key))

        return self._once(("delete", row), make)

    def trim(self, row: RowClass) -> sa.Delete:
        """Of the `limit_` oldest rows of a log, those from before `cutoff_`."""

        def make() -> sa.Delete:
            table = table_of(row).table
            oldest = sa.select(table.c.revision).order_by(table.c.revision).limit(sa.bindparam("limit_"))
            newest_of_them = sa.select(sa.func.max(oldest.subquery().c.revision)).scalar_subquery()
            cutoff = sa.bindparam("cutoff_", type_=table.c.at.type)
            return sa.delete(table).where(table.c.revision <= newest_of_them, table.c.at < cutoff)

        return self._once(("trim", row), make)

    def comparisons(self, row: RowClass, where: dict[str, Any]) -> tuple[tuple[tuple[str, str], ...], dict[str, Any]]:
        """Conditions as `find` and `scan` take them, and their parameters."""
        table = table_of(row)
        shape, parameters = [], {}
        for name, value in where.items():
            if value is None:
                shape.append((name, "null"))
            elif isinstance(value, (list, tuple, set, frozenset)):
                shape.append((name, "among"))
                parameters[name] = self._dialect.values([table.parameter(name, one) for one in value])
            else:
                shape.append((name, "equal"))
                parameters[name] = table.parameter(name, value)
        return tuple(shape), parameters

    def _conditions(self, table: sa.Table, where: tuple[tuple[str, str], ...]) -> list[sa.ColumnElement[bool]]:
        conditions: list[sa.ColumnElement[bool]] = []
        for name, comparison in where:
            column = table.c[name]
            if comparison == "null":
                conditions.append(column.is_(None))
            elif comparison == "among":
                conditions.append(self._dialect.among(column, name))
            else:
                conditions.append(column == sa.bindparam(name))
        return conditions

    def _once(self, name: Hashable, make: Callable[[], S]) -> S:
        if name not in self._made:
            self._made[name] = make()
        made: S = self._made[name]
        return made
