"""Processor `labels`: changes the labels of metrics. In this order: delete, update, upsert, insert, hash.

Names are compared without case. Whether a label is there is asked of all metrics of a batch together, as in Fluent Bit:
`insert` adds one that no metric has, to all of them; `upsert` sets it for all, first among the labels where it is new.
A value may have `$TAG`, and `$TAG[n]` for a part of it.
"""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TypeAlias

from agent.engine.config import STRING, InvalidProperty, Kind, option
from agent.engine.plugin import Context, Emit
from agent.engine.record import Batch
from agent.engine.registry import processors
from agent.engine.template import Template, template

Labels: TypeAlias = dict[str, str]
Change: TypeAlias = Callable[[list[Labels], str], list[Labels]]
"""The labels of all points, and the tag, to the labels after it."""


def _name_and_value(text: str) -> tuple[str, str]:
    name, *value = text.split(None, 1)
    if not value:
        raise ValueError(f"{text!r} is not a label and a value")
    return name, value[0]


NAME_AND_VALUE = Kind("space delimited strings (minimum 1)", _name_and_value)


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelsConfig:
    """What the labels processor takes."""

    delete: tuple[str, ...] = option(STRING, repeated=True, help="name of a label to remove")
    update: tuple[tuple[str, str], ...] = option(
        NAME_AND_VALUE, repeated=True, help="name and value of a label, for metrics that have it"
    )
    upsert: tuple[tuple[str, str], ...] = option(
        NAME_AND_VALUE, repeated=True, help="name and value of a label, for all metrics"
    )
    insert: tuple[tuple[str, str], ...] = option(
        NAME_AND_VALUE, repeated=True, help="name and value of a label, where no metric has it"
    )
    hash: tuple[str, ...] = option(STRING, repeated=True, help="name of a label whose value becomes its SHA-256")


@processors.register("labels", LabelsConfig, signals=("metrics",))
class LabelsProcessor:
    """Changes the labels of metrics."""

    def __init__(self, config: LabelsConfig, context: Context) -> None:
        valued: Mapping[str, tuple[Callable[..., list[Labels]], tuple[tuple[str, str], ...]]] = {
            "update": (_update, config.update),
            "upsert": (_upsert, config.upsert),
            "insert": (_insert, config.insert),
        }
        self._changes: list[Change] = [partial(_delete, name) for name in config.delete]
        for action, (change, pairs) in valued.items():
            self._changes += [partial(change, name, _template(action, value)) for name, value in pairs]
        self._changes += [partial(_hash, name) for name in config.hash]

    def process(self, batch: Batch, emit: Emit) -> Batch:
        labels: list[Labels] = [one["labels"] for one in batch.records]
        for change in self._changes:
            labels = change(labels, batch.tag)
        batch.records = [{**one, "labels": own} for one, own in zip(batch.records, labels, strict=True)]
        return batch

    async def open(self) -> None:
        pass

    async def close(self) -> None:
        pass


def _template(action: str, value: str) -> Template:
    try:
        return template(value)
    except ValueError as error:
        raise InvalidProperty(action, str(error)) from None


def _own_name(labels: Labels, name: str) -> str | None:
    """The label as these labels write it."""
    return next((own for own in labels if own.lower() == name.lower()), None)


def _has_any(labels: list[Labels], name: str) -> bool:
    return any(_own_name(one, name) is not None for one in labels)


def _delete(name: str, labels: list[Labels], _tag: str) -> list[Labels]:
    return [{own: value for own, value in one.items() if own.lower() != name.lower()} for one in labels]


def _update(name: str, value: Template, labels: list[Labels], tag: str) -> list[Labels]:
    text = value(tag, {})
    return [one if (own := _own_name(one, name)) is None else {**one, own: text} for one in labels]


def _upsert(name: str, value: Template, labels: list[Labels], tag: str) -> list[Labels]:
    text = value(tag, {})
    if not _has_any(labels, name):
        return [{name: text, **one} for one in labels]
    return [{**one, _own_name(one, name) or name: text} for one in labels]


def _insert(name: str, value: Template, labels: list[Labels], tag: str) -> list[Labels]:
    return labels if _has_any(labels, name) else [{**one, name: value(tag, {})} for one in labels]


def _hash(name: str, labels: list[Labels], _tag: str) -> list[Labels]:
    return [
        {**one, own: hashlib.sha256(one[own].encode()).hexdigest()}
        if (own := _own_name(one, name)) is not None and one[own]
        else one
        for one in labels
    ]
