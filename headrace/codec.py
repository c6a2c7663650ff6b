"""The only translator between the wire and the dataclasses of `types`, `messages` and `api`.

A dataclass and the message of its name have the same fields, so a writer and a reader per class serve all of them. They
are built from both at their first use, since no program needs them all; a field that only one side has is a TypeError
then. Rules for what the wire cannot say:

- an enum value that is unspecified, or newer than this version, becomes the field's default;
- a missing message or time becomes None, and a ProtocolError where the field needs one;
- a oneof body that this version does not know becomes None, which the session ignores and counts.
"""

from __future__ import annotations

import dataclasses
import types as python_types
import typing
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any, TypeVar

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import DecodeError, Message
from google.protobuf.timestamp_pb2 import Timestamp

from headrace import messages, types
from headrace.errors import InvalidError, ProtocolError
from headrace.v1 import channel_pb2, types_pb2

T = TypeVar("T")
_Write = Callable[[Any], Message]
_Read = Callable[[Any], Any]
_Encode = Callable[[Any], Any]
_Field = tuple[dataclasses.Field[Any], Any, FieldDescriptor]


@dataclasses.dataclass(frozen=True, slots=True)
class ErrorDetail:
    """What rides beside a failed call's status; see `headrace.errors`."""

    code: str
    faults: tuple[types.Fault, ...] = ()
    confirm: int = 0


def encode(value: object) -> bytes:
    """The wire form of any dataclass that has a message of its name; raises InvalidError for what has no such form."""
    return _WRITERS[type(value)](value).SerializeToString()


def decode(cls: type[T], data: bytes) -> T:
    """The dataclass that the bytes stand for; raises ProtocolError."""
    return typing.cast("T", _READERS[cls](_parse(_message(cls), data)))


def encode_agent(message: messages.AgentMessage) -> bytes:
    """One message of an agent, in its envelope."""
    return _wrap(channel_pb2.AgentMessage, message)


def decode_agent(data: bytes) -> messages.AgentMessage | None:
    """What an agent sent; None for a kind that this version does not know. Raises ProtocolError."""
    return typing.cast("messages.AgentMessage | None", _unwrap(channel_pb2.AgentMessage, data))


def encode_server(message: messages.ServerMessage) -> bytes:
    """One message of the control plane, in its envelope; the result may be shared by every stream."""
    return _wrap(channel_pb2.ServerMessage, message)


def decode_server(data: bytes) -> messages.ServerMessage | None:
    """What the control plane sent; None for a kind that this version does not know. Raises ProtocolError."""
    return typing.cast("messages.ServerMessage | None", _unwrap(channel_pb2.ServerMessage, data))


def _parse(message_class: type[Any], data: bytes) -> Message:
    try:
        return typing.cast("Message", message_class.FromString(data))
    except DecodeError as error:
        name = message_class.DESCRIPTOR.name
        raise ProtocolError(f"{name}: {len(data)} bytes are not such a message") from error


def _wrap(envelope: type[Message], value: object) -> bytes:
    cls = type(value)
    return envelope(**{_BODY_FIELD[envelope][cls]: _WRITERS[cls](value)}).SerializeToString()


def _unwrap(envelope: type[Message], data: bytes) -> object | None:
    outer = _parse(envelope, data)
    field = outer.WhichOneof("body")
    return None if field is None else _READERS[_BODY_CLASS[envelope][field]](getattr(outer, field))


# How a dataclass finds its message, and an envelope its bodies.


def _message(cls: type[Any]) -> Any:
    """The message of the dataclass's name, in the file that is its module's."""
    if cls.__module__ == types.__name__:
        return getattr(types_pb2, cls.__name__)
    if cls.__module__ == messages.__name__:
        return getattr(channel_pb2, cls.__name__)
    from headrace.v1 import management_pb2  # here, so that an agent never loads it

    return getattr(management_pb2, cls.__name__)


_ENVELOPES: tuple[type[Any], ...] = (channel_pb2.AgentMessage, channel_pb2.ServerMessage)
_BODY_CLASS: Mapping[type[Message], Mapping[str, type[Any]]] = {
    envelope: {
        field.name: getattr(messages, field.message_type.name)
        for field in envelope.DESCRIPTOR.oneofs_by_name["body"].fields
    }
    for envelope in _ENVELOPES
}
_BODY_FIELD: Mapping[type[Message], Mapping[type[Any], str]] = {
    envelope: {cls: name for name, cls in bodies.items()} for envelope, bodies in _BODY_CLASS.items()
}


class _Built(dict[type[Any], Callable[[Any], Any]]):
    """Writers, or readers, by class; each is built when it is asked for, after those of the classes that it holds."""

    def __init__(self, build: Callable[[type[Any], list[_Field]], Callable[[Any], Any]]) -> None:
        self._build = build

    def __missing__(self, cls: type[Any]) -> Callable[[Any], Any]:
        return self.setdefault(cls, self._build(cls, _fields(cls)))


def _build_writer(cls: type[Any], fields: list[_Field]) -> _Write:
    message_class = _message(cls)
    converters = tuple((field.name, _encoder(hint, wire), _keeps_zero(wire)) for field, hint, wire in fields)

    def write(value: Any) -> Message:
        values = {}
        for name, convert, keeps_zero in converters:
            item = getattr(value, name)
            if item or (keeps_zero and item is not None):  # proto3 leaves defaults out
                values[name] = convert(item)
        try:
            return typing.cast("Message", message_class(**values))
        except ValueError as error:  # a number out of range, or text that is no Unicode
            raise InvalidError(f"{cls.__name__}: {_blame(message_class, values)}: {error}") from error

    return write


def _blame(message_class: type[Any], values: Mapping[str, Any]) -> str:
    """The field whose value the message does not take."""
    for name, value in values.items():
        try:
            message_class(**{name: value})
        except ValueError:
            return f"field {name!r}"
    return "fields"


def _build_reader(cls: type[Any], fields: list[_Field]) -> _Read:
    """One compiled call: every report of every agent passes here, and loops over fields would cost most of its time."""
    scope: dict[str, Any] = {"cls": cls}
    arguments = ", ".join(f"{field.name}={_reading(cls, field, hint, wire, scope)}" for field, hint, wire in fields)
    reader: _Read = eval(f"lambda message: cls({arguments})", scope)
    return reader


def _fields(cls: type[Any]) -> list[_Field]:
    """Each field with its type and its descriptor; raises TypeError where the two sides differ."""
    wire = _message(cls).DESCRIPTOR.fields_by_name
    hints = typing.get_type_hints(cls)
    own = dataclasses.fields(cls)
    if {field.name for field in own} != set(wire):
        raise TypeError(f"{cls.__name__}: fields differ from its message: {({f.name for f in own}) ^ set(wire)}")
    return [(field, hints[field.name], wire[field.name]) for field in own]


def _encoder(hint: Any, wire: FieldDescriptor) -> _Encode:
    if _is_map(wire):
        return dict
    inner, _ = _inner(hint)
    if wire.enum_type is not None:
        return {member: number for number, member in _members(inner, wire).items()}.__getitem__
    if wire.message_type is None:
        return _identity
    one: _Encode = _timestamp if inner is datetime else _WRITERS[inner]
    return (lambda items: [one(item) for item in items]) if wire.is_repeated else one


def _reading(
    cls: type[Any], field: dataclasses.Field[Any], hint: Any, wire: FieldDescriptor, scope: dict[str, Any]
) -> str:
    """The expression for a field's value, given `message`; what it needs goes into the scope."""
    item, is_set, convert = f"message.{field.name}", f"message.HasField({field.name!r})", f"convert_{field.name}"
    if _is_map(wire):
        return f"dict({item})"
    inner, optional = _inner(hint)
    if wire.enum_type is not None:
        scope[convert] = _enum_reader(cls, field, _members(inner, wire), optional)
        return f"{convert}({item})"
    if wire.message_type is None:
        if wire.is_repeated:
            return f"tuple({item})"
        return f"{item} if {is_set} else None" if wire.has_presence else item
    scope[convert] = _datetime if inner is datetime else _READERS[inner]
    if wire.is_repeated:
        return f"tuple([{convert}(item) for item in {item}])"
    if optional:
        return f"{convert}({item}) if {is_set} else None"
    scope["missing"] = _missing
    return f"{convert}({item}) if {is_set} else missing({cls.__name__!r}, {field.name!r})"


def _missing(cls: str, name: str) -> Any:
    raise ProtocolError(f"{cls}: field {name!r} is missing")


def _enum_reader(
    cls: type[Any], field: dataclasses.Field[Any], members: Mapping[int, StrEnum], optional: bool
) -> _Read:
    if optional or field.default is not dataclasses.MISSING:
        default = None if field.default is dataclasses.MISSING else field.default
        return lambda number: members.get(number, default)

    def convert(number: int) -> StrEnum:
        if number not in members:
            raise ProtocolError(f"{cls.__name__}: field {field.name!r} has no value that this version knows ({number})")
        return members[number]

    return convert


def _members(inner: type[StrEnum], wire: FieldDescriptor) -> dict[int, StrEnum]:
    """The enum's members by their numbers; 0 is "unspecified" and has none."""
    assert wire.enum_type is not None
    zero, *values = wire.enum_type.values
    prefix = zero.name.removesuffix("UNSPECIFIED")
    members = {value.number: inner[value.name.removeprefix(prefix)] for value in values}
    if set(members.values()) != set(inner):
        raise TypeError(f"{inner.__name__}: values differ from its enum: {set(inner) - set(members.values())}")
    return members


def _identity(value: Any) -> Any:
    return value


_EPOCH = datetime.fromtimestamp(0, UTC)


def _timestamp(value: datetime) -> Timestamp:
    since = value - _EPOCH
    return Timestamp(seconds=since.days * 86_400 + since.seconds, nanos=since.microseconds * 1_000)


def _datetime(stamp: Timestamp) -> datetime:
    try:
        return _EPOCH + timedelta(seconds=stamp.seconds, microseconds=stamp.nanos // 1_000)
    except OverflowError as error:
        raise ProtocolError(f"a time is out of range: {stamp.seconds} s") from error


def _is_map(wire: FieldDescriptor) -> bool:
    return wire.message_type is not None and bool(wire.message_type.GetOptions().map_entry)


def _keeps_zero(wire: FieldDescriptor) -> bool:
    """Whether 0 and absence differ, as in an optional scalar."""
    return wire.has_presence and wire.message_type is None


def _inner(hint: Any) -> tuple[Any, bool]:
    """`tuple[X, ...]` and `X | None` to X, and whether None is allowed."""
    if typing.get_origin(hint) is tuple:
        return typing.get_args(hint)[0], False
    if typing.get_origin(hint) in (typing.Union, python_types.UnionType):
        return next(arg for arg in typing.get_args(hint) if arg is not type(None)), True
    return hint, False


_WRITERS: Mapping[type[Any], _Write] = _Built(_build_writer)
_READERS: Mapping[type[Any], _Read] = _Built(_build_reader)
