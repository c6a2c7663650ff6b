"""From a section's properties to a plugin's own Config dataclass.

A plugin declares what it takes once, as a frozen dataclass whose fields are made by `option(…)`; `read` fills such
classes from a section, the schema (`-J`) and the documentation are derived from them. Pure.

Every fault of a section is found, each with the plugin, the property and its position.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from functools import cache
from typing import Any

from headrace.config import Fault, Section, Value, did_you_mean, parse_bool, parse_size, parse_time


class InvalidProperty(ValueError):
    """A property whose value a plugin cannot use; raised by a plugin's constructor."""

    def __init__(self, name: str, why: str) -> None:
        super().__init__(f"property {name!r}: {why}")
        self.name = name
        self.why = why


@dataclass(frozen=True, slots=True)
class Kind:
    """A type of value: its name in Fluent Bit's schema, and its parser (ValueError says what is accepted)."""

    name: str
    parse: Callable[[str], Any]


def _integer(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise ValueError(f"{text!r} is not a whole number") from None


def _double(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise ValueError(f"{text!r} is not a number") from None


def _pair(text: str) -> tuple[str, str]:
    words = split_words(text, 2)
    if len(words) != 2:
        raise ValueError(f"{text!r} is not a key and a value")
    return words[0], words[1]


STRING = Kind("string", str)
INTEGER = Kind("integer", _integer)
DOUBLE = Kind("double", _double)
BOOLEAN = Kind("boolean", parse_bool)
SIZE = Kind("size", parse_size)
TIME = Kind("time", parse_time)
COMMA_LIST = Kind(
    "multiple comma delimited strings", lambda text: tuple(s.strip() for s in text.split(",") if s.strip())
)
VARIANT = Kind("variant", str)
"""Any value, a list or a map too, for the plugin to read."""
PAIR = Kind("space delimited strings (minimum 2)", _pair)


@dataclass(frozen=True, slots=True, kw_only=True)
class Option:
    """One property of a plugin. `names` has several entries when they share an order (the rules of `modify`)."""

    kind: Kind
    names: tuple[str, ...]
    default: Any
    required: bool
    repeated: bool
    choices: tuple[str, ...]
    help: str


def option(
    kind: Kind,
    default: Any = None,
    *,
    help: str,
    name: str | None = None,
    names: tuple[str, ...] = (),
    required: bool = False,
    repeated: bool = False,
    choices: Iterable[str] = (),
) -> Any:
    """A dataclass field for the property of the same name, or `name`.

    `repeated`: the property may be given several times (or as a YAML list) and the field is a tuple; `names` lists
    several such properties whose common order matters, and the field is a tuple of (name, value). `choices` are
    compared without case.
    """
    spec = Option(
        kind=kind,
        names=names or ((name,) if name else ()),
        default=default,
        required=required,
        repeated=repeated or bool(names),
        choices=tuple(choices),
        help=help,
    )
    metadata = {"option": spec}
    return field(metadata=metadata) if required else field(default=() if spec.repeated else default, metadata=metadata)


def included(shape: type) -> Any:
    """A dataclass field that holds another Config class, whose properties are then the plugin's own."""
    return field(default_factory=shape, metadata={"included": shape})


@cache
def options_of(shape: type) -> tuple[tuple[str, Option], ...]:
    """The fields of a Config class by name, each with its option, whose names are filled in; included ones, too."""
    inner = (spec.metadata["included"] for spec in fields(shape) if "included" in spec.metadata)
    return (*_own_options(shape), *(found for other in inner for found in options_of(other)))


@cache
def _own_options(shape: type) -> tuple[tuple[str, Option], ...]:
    declared = [(spec.name, spec.metadata["option"]) for spec in fields(shape) if "included" not in spec.metadata]
    return tuple((name, spec if spec.names else replace(spec, names=(name,))) for name, spec in declared)


def read(
    section: Section, *shapes: type, refused: Iterable[str] = (), label: str | None = None
) -> tuple[tuple[Any, ...], list[Fault]]:
    """Fill one instance of each of `shapes` from the section, and list the faults; with faults there are no instances.

    `refused` are properties that Fluent Bit knows and this engine does not implement; `label` names the section in
    messages.
    """
    who = label or f"{section.kind} {section.name!r}"
    options = [spec for shape in shapes for _, spec in options_of(shape)]
    taken = {name: spec for spec in options for name in spec.names}
    given: dict[tuple[str, ...], list[tuple[str, Any]]] = {}
    faults: list[Fault] = []
    for prop in section.properties:
        spec = taken.get(prop.name)
        if spec is None:
            if prop.name != "name":
                faults.append(Fault(prop.position, f"{who}: {_unknown(prop.name, taken, refused)}"))
            continue
        values = given.setdefault(spec.names, [])
        for value in _each(prop.value, spec):
            try:
                values.append((prop.name, _parse(spec, value)))
            except ValueError as error:
                faults.append(Fault(prop.position, f"{who}: property {prop.name!r}: {error}"))
    missing = [spec.names[0] for spec in options if spec.required and spec.names not in given]
    faults += [Fault(section.position, f"{who}: required property {name!r} is missing") for name in missing]
    return ((), faults) if faults else (tuple(_fill(shape, given) for shape in shapes), faults)


def _fill(shape: type, given: Mapping[tuple[str, ...], list[tuple[str, Any]]]) -> Any:
    inner = {spec.name: spec.metadata["included"] for spec in fields(shape) if "included" in spec.metadata}
    arguments: dict[str, Any] = {name: _fill(other, given) for name, other in inner.items()}
    for name, spec in _own_options(shape):
        values = given.get(spec.names)
        if not values:
            continue
        if len(spec.names) > 1:
            arguments[name] = tuple(values)
        elif spec.kind is COMMA_LIST:
            arguments[name] = tuple(item for _, value in values for item in value)
        else:
            arguments[name] = tuple(value for _, value in values) if spec.repeated else values[-1][1]
    return shape(**arguments)


def _each(value: Value, spec: Option) -> list[Value]:
    return list(value) if isinstance(value, tuple) and (spec.repeated or spec.kind is COMMA_LIST) else [value]


def _parse(spec: Option, value: Value) -> Any:
    if spec.kind is VARIANT:
        return value
    if isinstance(value, tuple | Mapping):
        raise ValueError("expected one value, not a list or a map")
    text = "" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
    if spec.choices:
        for choice in spec.choices:
            if choice.lower() == text.strip().lower():
                return choice
        known = ", ".join(spec.choices)
        raise ValueError(f"{text!r} is not one of {known}{did_you_mean(text, spec.choices)}")
    return spec.kind.parse(text)


def _unknown(key: str, taken: Iterable[str], refused: Iterable[str]) -> str:
    if key.lower() in refused:
        return f"property {key!r} is known to Fluent Bit but not implemented by the embedded engine"
    hint = did_you_mean(key, taken)
    return f"unknown property {key!r}" + (hint or f"; known are {', '.join(sorted(taken)) or 'none'}")


def split_words(text: str, at_most: int) -> list[str]:
    """At most so many words, split at white space; the last is the rest. Quotes (' or ") keep words together."""
    words: list[str] = []
    rest = text.strip()
    while rest and len(words) < at_most - 1:
        if rest[0] in "'\"" and (end := _closing(rest)) > 0:
            words.append(_unescape(rest[1:end], rest[0]))
            rest = rest[end + 1 :].lstrip()
        else:
            word, _, rest = rest.partition(" ") if "\t" not in rest.split(" ", 1)[0] else rest.partition("\t")
            words.append(word)
            rest = rest.lstrip()
    if rest:
        end = _closing(rest) if rest[0] in "'\"" else -1
        words.append(_unescape(rest[1:end], rest[0]) if end == len(rest) - 1 and end > 0 else rest)
    return words


def _closing(text: str) -> int:
    at = 1
    while at < len(text):
        if text[at] == "\\":
            at += 1
        elif text[at] == text[0]:
            return at
        at += 1
    return -1


def _unescape(text: str, quote: str) -> str:
    return text.replace("\\" + quote, quote)
