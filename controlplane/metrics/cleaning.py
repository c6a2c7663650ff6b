"""What may become a series: names and tags from agents are checked, agent and labels are added here. Pure.

An agent is not trusted: it names its metric, and of tags `pipeline`, `plugin` and `kind`. What breaks a rule is
refused whole, never changed, since two series that became one would write over each other.
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Mapping

from controlplane.metrics.vocabulary import Series
from headrace.errors import InvalidError
from headrace.names import validate_label_key, validate_name

AGENT, PIPELINE, PLUGIN, KIND = "agent", "pipeline", "plugin", "kind"
FROM_AGENTS = frozenset({PIPELINE, PLUGIN, KIND})
RESERVED = FROM_AGENTS | {AGENT, "time", "value", "agent_id"}
"""No label may have such a name where it is to be a tag."""
DEFAULT_LABELS = ("role", "env", "region", "zone")

AHEAD_MS, BEHIND_MS = 10 * 60_000, 7 * 24 * 3_600_000
_NAME = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]{0,199}")
_LONGEST = 200


def check_labels(labels: Collection[str]) -> None:
    """Raises InvalidError for a list of labels that cannot be tags."""
    for label in labels:
        validate_label_key(label)
        if label in RESERVED:
            raise InvalidError(f"label {label!r} cannot be a tag of metrics: {label!r} means something else there")


def series_of(
    name: str, tags: Mapping[str, str], *, agent_id: str, labels: Mapping[str, str], allowed: Collection[str]
) -> Series:
    """The series that is kept. Raises InvalidError with why not, in words that hold for many."""
    if not _NAME.fullmatch(name):
        raise InvalidError("name of a metric")
    for key, value in tags.items():
        if key not in FROM_AGENTS:
            raise InvalidError("tag that agents do not give")
        if len(value) > _LONGEST or not value.isprintable() or value.endswith("\\"):
            raise InvalidError("value of a tag")
    if pipeline := tags.get(PIPELINE):
        try:
            validate_name(pipeline)
        except InvalidError:
            raise InvalidError("name of a pipeline") from None
    given = {key: labels[key] for key in allowed if key in labels}
    return Series.of(name, {**tags, **given, AGENT: agent_id})


def check_time(at_ms: int, *, now_ms: int) -> None:
    """Raises InvalidError for a time that is no agent's to report now."""
    if at_ms > now_ms + AHEAD_MS:
        raise InvalidError("time ahead of this clock")
    if at_ms < now_ms - BEHIND_MS:
        raise InvalidError("time long past")


def check_value(value: float) -> None:
    """Raises InvalidError for what is no number."""
    if not math.isfinite(value):
        raise InvalidError("value that is no finite number")
