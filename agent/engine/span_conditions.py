"""Conditions of sampling: which traces are kept whole because of one of their spans (pure).

    conditions: [{type: latency, threshold_ms_high: 500}, {type: status_code, status_codes: [ERROR]}]

An attribute is looked for in the resource, then in the span.
"""

from collections.abc import Callable, Mapping
from typing import TypeAlias

from agent.engine.config import InvalidProperty
from agent.engine.record import Record
from agent.engine.regex import compile_regex
from headrace.config import Value, did_you_mean

SpanCondition: TypeAlias = Callable[[Record, Record, int], bool]
"""From a span, its metadata, and how many spans its trace has."""

_Settings: TypeAlias = Mapping[str, Value]
_STATUS = {"unset": 0, "ok": 1, "error": 2}
_MILLISECOND = 1_000_000


def span_conditions(value: Value) -> list[SpanCondition]:
    """The conditions that a property says. Raises InvalidProperty."""
    if not isinstance(value, tuple) or not value:
        raise _fault("expected a list of conditions")
    return [_condition(one) for one in value]


def _condition(settings: Value) -> SpanCondition:
    if not isinstance(settings, Mapping) or "type" not in settings:
        raise _fault("each condition is a map with a 'type'")
    kind = str(settings["type"]).lower()
    if kind not in _KINDS:
        hint = did_you_mean(kind, _KINDS) or f"; there are {', '.join(_KINDS)}"
        raise _fault(f"type {kind!r} is not known{hint}")
    make, keys = _KINDS[kind]
    for key in settings:
        if key not in ("type", *keys):
            hint = did_you_mean(key, keys) or f"; known are {', '.join(keys)}"
            raise _fault(f"{kind} has no {key!r}{hint}")
    return make(settings)


def _latency(settings: _Settings) -> SpanCondition:
    low, high = (_whole(settings, key, 0) for key in ("threshold_ms_low", "threshold_ms_high"))
    if min(low, high) < 0 or not (low or high):
        raise _fault("latency needs 'threshold_ms_low' or 'threshold_ms_high', milliseconds above 0")

    def holds(span: Record, _metadata: Record, _count: int) -> bool:
        nanoseconds = span["end_time_unix_nano"] - span["start_time_unix_nano"]
        taken = nanoseconds // _MILLISECOND
        return nanoseconds >= 0 and bool((low and taken <= low) or (high and taken >= high))

    return holds


def _status_code(settings: _Settings) -> SpanCondition:
    names = [name.lower() for name in _texts(settings, "status_codes")]
    for name in names:
        if name not in _STATUS:
            raise _fault(f"status code {name!r} is none of UNSET, OK, ERROR")
    codes = {_STATUS[name] for name in names}
    return lambda span, _metadata, _count: span["status"]["code"] in codes


def _string_attribute(settings: _Settings) -> SpanCondition:
    match = _match_type(settings, "strict", "exists", "regex")
    if match == "exists":
        return _attribute(settings, lambda value: isinstance(value, str))
    values = _texts(settings, "values")
    if match == "strict":
        return _attribute(settings, lambda value: isinstance(value, str) and value in values)
    try:
        searches = [compile_regex(value).search for value in values]
    except ValueError as error:
        raise _fault(str(error)) from None
    return _attribute(settings, lambda value: isinstance(value, str) and any(search(value) for search in searches))


def _numeric_attribute(settings: _Settings) -> SpanCondition:
    low, high = _range(settings, "min_value", "max_value")
    anywhere = _match_type(settings, "strict", "exists") == "exists"

    def holds(value: object) -> bool:
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        return is_number and (anywhere or low <= value <= high)  # type: ignore[operator]  # a number, as was asked

    return _attribute(settings, holds)


def _boolean_attribute(settings: _Settings) -> SpanCondition:
    wanted = settings.get("value")
    if not isinstance(wanted, bool):
        raise _fault("boolean_attribute needs 'value', true or false")
    if _match_type(settings, "strict", "exists") == "exists":
        return _attribute(settings, lambda value: isinstance(value, bool))
    return _attribute(settings, lambda value: value is wanted)


def _span_count(settings: _Settings) -> SpanCondition:
    low, high = _range(settings, "min_spans", "max_spans")
    return lambda _span, _metadata, count: low <= count <= high


def _trace_state(settings: _Settings) -> SpanCondition:
    values = set(_texts(settings, "values"))
    return lambda span, _metadata, _count: not values.isdisjoint((span["trace_state"] or "").split(","))


def _attribute(settings: _Settings, holds: Callable[[object], bool]) -> SpanCondition:
    key = settings.get("key")
    if not isinstance(key, str):
        raise _fault(f"{settings['type']} needs the 'key' of an attribute")

    def found(span: Record, metadata: Record, _count: int) -> bool:
        owners = (metadata.get("resource", {}).get("attributes", {}), span["attributes"])
        return any(key in owner and holds(owner[key]) for owner in owners)

    return found


def _match_type(settings: _Settings, *known: str) -> str:
    match = str(settings.get("match_type", "strict")).lower()
    if match not in known:
        raise _fault(f"match_type {match!r} is none of {', '.join(known)}{did_you_mean(match, known)}")
    return match


def _range(settings: _Settings, low: str, high: str) -> tuple[int, int]:
    bounds = _whole(settings, low), _whole(settings, high)
    if bounds[0] > bounds[1]:
        raise _fault(f"{low!r} is above {high!r}")
    return bounds


def _whole(settings: _Settings, key: str, default: int | None = None) -> int:
    value = settings.get(key, default)
    if not isinstance(value, int) or isinstance(value, bool):
        raise _fault(f"{settings['type']} needs {key!r}, a whole number")
    return value


def _texts(settings: _Settings, key: str) -> list[str]:
    values = settings.get(key)
    if not isinstance(values, tuple) or not all(isinstance(value, str) for value in values):
        raise _fault(f"{settings['type']} needs {key!r}, a list of texts")
    return [str(value) for value in values]


def _fault(why: str) -> InvalidProperty:
    return InvalidProperty("conditions", why)


_KINDS: Mapping[str, tuple[Callable[[_Settings], SpanCondition], tuple[str, ...]]] = {
    "latency": (_latency, ("threshold_ms_low", "threshold_ms_high")),
    "status_code": (_status_code, ("status_codes",)),
    "string_attribute": (_string_attribute, ("key", "values", "match_type")),
    "numeric_attribute": (_numeric_attribute, ("key", "min_value", "max_value", "match_type")),
    "boolean_attribute": (_boolean_attribute, ("key", "value", "match_type")),
    "span_count": (_span_count, ("min_spans", "max_spans")),
    "trace_state": (_trace_state, ("values",)),
}
