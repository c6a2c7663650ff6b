"""Prometheus's text format, version 0.0.4, written and read (pure)."""

import re
from collections.abc import Iterable, Iterator, Mapping

from agent.engine.points import flat, number
from agent.engine.record import Record

_MILLISECOND = 1_000_000
_NOT_NAME = re.compile(r"[^a-zA-Z0-9_:]")
_NOT_LABEL = re.compile(r"[^a-zA-Z0-9_]")
_SAMPLE = re.compile(r"([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\s*\{(.*)\}\s*|\s+)(\S+)(?:\s+(-?\d+))?", re.DOTALL)
_LABEL = re.compile(r'\s*([a-zA-Z_][a-zA-Z0-9_]*)\s*=\s*"((?:[^"\\]|\\.)*)"\s*(?:,\s*|$)', re.DOTALL)
_ESCAPE = re.compile(r"\\(.)")
_ENDS = {
    "histogram": {"_bucket": "le", "_sum": "", "_count": ""},
    "summary": {"": "quantile", "_sum": "", "_count": ""},
}
_KINDS = ("counter", "gauge", "histogram", "summary")


def as_text(points: Iterable[tuple[int, Record]], *, with_times: bool = False) -> str:
    """Points with their times; those of one name are put together, as the format asks."""
    by_name: dict[str, list[str]] = {}
    for when, one in points:
        name = metric_name(one["name"])
        lines = by_name.get(name)
        if lines is None:
            help_text = one["help"].replace("\\", "\\\\").replace("\n", "\\n")
            lines = by_name[name] = [f"# HELP {name} {help_text}", f"# TYPE {name} {one['type']}"]
        end = f" {when // _MILLISECOND}" if with_times else ""
        for full, own, value in flat(one):
            lines.append(f"{metric_name(full)}{_labels(own)} {value}{end}")
    return "".join(line + "\n" for lines in by_name.values() for line in lines)


def metric_name(name: str) -> str:
    """The name with what Prometheus does not take replaced."""
    plain = _NOT_NAME.sub("_", name)
    return f"_{plain}" if plain[:1].isdigit() else plain


def label_name(name: str) -> str:
    """The same for a label, which has no colon either."""
    plain = _NOT_LABEL.sub("_", name)
    return f"_{plain}" if plain[:1].isdigit() else plain


def _labels(labels: Mapping[str, str]) -> str:
    shown = ",".join(f'{label_name(name)}="{_escaped(value)}"' for name, value in labels.items())
    return f"{{{shown}}}" if shown else ""


def _escaped(label: str) -> str:
    return label.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def read_text(text: str, *, now: int, source: str) -> list[tuple[int, Record]]:
    """The points of a page, with their own times or `now`. Raises ValueError, which names the line."""
    kinds: dict[str, str] = {}
    helps: dict[str, str] = {}
    points: dict[object, tuple[int, Record]] = {}
    for at, line in enumerate(text.split("\n"), start=1):
        line = line.strip()
        if line.startswith("#"):
            _, word, name, rest = (*line.split(None, 3), "", "", "", "")[:4]
            if word == "TYPE":
                kinds[name] = rest.lower() if rest.lower() in _KINDS else "untyped"
            elif word == "HELP":
                helps[name] = _unescaped(rest)
        elif line:
            try:
                _take(line, kinds, helps, points, now, source)
            except ValueError as error:
                raise ValueError(f"line {at}: {error}") from None
    return list(points.values())


def _take(
    line: str,
    kinds: Mapping[str, str],
    helps: Mapping[str, str],
    points: dict[object, tuple[int, Record]],
    now: int,
    source: str,
) -> None:
    found = _SAMPLE.fullmatch(line)
    if found is None:
        raise ValueError(f"{line[:80]!r} is not a sample")
    full, labels, value = found[1], dict(_read_labels(found[2] or "")), number(float(found[3]))
    when = int(found[4]) * _MILLISECOND if found[4] else now
    name, end, step_label = _family(full, kinds)
    kind = kinds.get(name, "untyped")
    step = labels.pop(step_label, None) if step_label else None
    if step_label and step is None:
        raise ValueError(f"{full!r} has no label {step_label!r}")
    empty: Record = {"name": name, "type": kind, "help": helps.get(name, ""), "labels": labels, "source": source}
    if kind in _ENDS:
        empty |= {"buckets" if kind == "histogram" else "quantiles": {}, "sum": 0, "count": 0}
    _, one = points.setdefault((name, tuple(sorted(labels.items()))), (when, empty))
    if step is not None:
        one["buckets" if kind == "histogram" else "quantiles"][step] = value
    else:
        one[end.removeprefix("_") if end and kind in _ENDS else "value"] = value


def _family(full: str, kinds: Mapping[str, str]) -> tuple[str, str, str]:
    """The metric that a sample is part of, its end, and the label that says which part it is, if one does."""
    for kind, ends in _ENDS.items():
        for end, label in ends.items():
            name = full.removesuffix(end)
            if full.endswith(end) and kinds.get(name) == kind:
                return name, end, label
    return full, "", ""


def _read_labels(text: str) -> Iterator[tuple[str, str]]:
    at = 0
    while text[at:].strip():
        found = _LABEL.match(text, at)
        if found is None:
            raise ValueError(f"{text[at : at + 80]!r} is not a label")
        yield found[1], _unescaped(found[2])
        at = found.end()


def _unescaped(text: str) -> str:
    return _ESCAPE.sub(lambda found: "\n" if found[1] == "n" else found[1], text)
