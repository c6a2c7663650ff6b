"""Reads the Prometheus text format as far as engines write it, and no more of it than is wanted. Pure.

A line that cannot be read costs that line; what is larger than a bound costs what is over it. Both are counted.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import isfinite

MAX_SAMPLES = 5_000
MAX_LINE = 4_096
MAX_LABELS = 16

_NAME = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")
_LABEL = re.compile(r'\s*([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\]|\\.)*)"\s*(,|(?=\}))')
_VALUE = re.compile(r"\s+([-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?)(?:\s+-?[0-9]+)?\s*", re.ASCII)
_ESCAPED = re.compile(r"\\(.)")
_PLAIN = {"n": "\n", "\\": "\\", '"': '"'}


@dataclass(frozen=True, slots=True)
class Sample:
    """One line: a name, its labels, and a finite value."""

    name: str
    labels: Mapping[str, str]
    value: float


@dataclass(frozen=True, slots=True)
class Exposition:
    """What was read, and how many lines were wanted and could not be, or were too many."""

    samples: tuple[Sample, ...]
    refused: int = 0


def parse(text: str, is_wanted: Callable[[str], bool], *, most: int = MAX_SAMPLES) -> Exposition:
    """The samples whose name is wanted, in their order, at most so many."""
    samples: list[Sample] = []
    refused = 0
    for line in text.split("\n"):  # not splitlines: a label may hold any other character that ends lines
        name = _NAME.match(line)
        if name is None or not is_wanted(name[0]):
            continue
        sample = _sample(name[0], line, name.end()) if len(line) <= MAX_LINE and len(samples) < most else None
        if sample is None:
            refused += 1
        else:
            samples.append(sample)
    return Exposition(tuple(samples), refused)


def _sample(name: str, line: str, at: int) -> Sample | None:
    labels: dict[str, str] = {}
    if line[at : at + 1] == "{":
        at += 1
        while line[at : at + 1] != "}":
            label = _LABEL.match(line, at)
            if label is None or len(labels) >= MAX_LABELS:
                return None
            labels[label[1]] = _ESCAPED.sub(lambda escape: _PLAIN.get(escape[1], escape[0]), label[2])
            at = label.end()
        at += 1
    value = _VALUE.fullmatch(line, at)
    if value is None or not isfinite(number := float(value[1])):
        return None
    return Sample(name, labels, number)
