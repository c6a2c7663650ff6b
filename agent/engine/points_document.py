"""Points as Fluent Bit writes metrics in JSON (pure): a document for each resource and scope, a part for each metric.

The name of a metric is in one piece: namespace and subsystem are empty. Differences to Fluent Bit 5.1.1: series have no
`hash`; sums and quantiles of a summary are numbers, where it writes the bits of one.
"""

from collections.abc import Iterator
from itertools import groupby, pairwise
from typing import TypeAlias

from agent.engine.points import METADATA, count_of
from agent.engine.record import Batch, Record

_TYPES = {"counter": 0, "gauge": 1, "histogram": 2, "summary": 3, "untyped": 4}
_TOTALS = 2
"""How values add up: from the start on."""

_Point: TypeAlias = tuple[int, Record, Record]
"""Time, point, metadata."""


def points_documents(batch: Batch) -> Iterator[Record]:
    """One document after the other."""
    metadata = batch.metadata if batch.metadata is not None else [{}] * len(batch)
    points = zip(batch.times, batch.records, metadata, strict=True)
    for (resource, scope), some in groupby(
        points, lambda point: (point[2].get("resource", {}), point[2].get("scope", {}))
    ):
        metrics: dict[tuple[str, str], list[_Point]] = {}
        for point in some:
            metrics.setdefault((point[1]["name"], point[1]["type"]), []).append(point)
        about = {"cmetrics": {}, "external": _external(resource, scope), "processing": {"static_labels": []}}
        yield {"meta": about, "metrics": [_metric(of_metric) for of_metric in metrics.values()]}


def _external(resource: Record, scope: Record) -> Record:
    shown: Record = {}
    for name, owner, around in (("scope", scope, "scope_metrics"), ("resource", resource, "resource_metrics")):
        if owner:
            named: Record = {key: owner[key] for key in ("name", "version") if key in owner}
            named["dropped_attributes_count"] = owner.get("dropped_attributes_count", 0)
            shown[name] = {"metadata": named, "attributes": owner.get("attributes", {})}
            shown[around] = {"metadata": {"schema_url": owner["schema_url"]} if "schema_url" in owner else {}}
    return shown


def _metric(points: list[_Point]) -> Record:
    _, first, metadata = points[0]
    names = list(dict.fromkeys(name for _, point, _ in points for name in point["labels"]))
    unit = metadata.get(METADATA, {}).get("unit", "")
    meta: Record = {
        "ver": 2,
        "type": _TYPES[first["type"]],
        "opts": {"ns": "", "ss": "", "name": first["name"], "desc": first["help"], "unit": unit},
        "labels": names,
    }
    if "buckets" in first:
        meta["buckets"] = [float(bound) for bound in first["buckets"] if bound != "+Inf"]
    if "quantiles" in first:
        meta["quantiles"] = [float(quantile) for quantile in first["quantiles"]]
    if first["type"] in ("counter", "histogram"):
        meta["aggregation_type"] = _TOTALS
    return {"meta": meta, "values": [_value(point, names) for point in points]}


def _value(point: _Point, names: list[str]) -> Record:
    when, one, metadata = point
    own = metadata.get(METADATA, {})
    shown: Record = {"ts": when} | ({"start_ts": own["start"]} if "start" in own else {})
    if "buckets" in one:
        counts = [0, *map(count_of, one["buckets"].values())]
        each = [after - before for before, after in pairwise(counts)]
        shown["histogram"] = {"buckets": each, "sum": one["sum"], "count": one["count"]}
    elif "quantiles" in one:
        quantiles = list(one["quantiles"].values())
        shown["summary"] = {"quantiles_set": 1, "quantiles": quantiles, "count": one["count"], "sum": one["sum"]}
    else:
        value = one["value"]
        shown["value"] = value if isinstance(value, str) else float(value)
        shown |= {"value_type": 1, "value_int64": value} if own.get("is_int") else {}
    labels = [one["labels"].get(name) for name in names]
    while labels and labels[-1] is None:
        labels.pop()
    return shown | ({"labels": labels} if labels else {})
