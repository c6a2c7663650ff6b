"""The only translator between the wire and the dataclasses of `types`, `messages` and `api`.

A dataclass and the message of its name have the same fields, so one table of converters, built from both at import
time, serves all of them; a field that only one side has fails the import. Rules for what the wire cannot say:

- an enum value that is unspecified, or newer than this version, becomes the field's default;
- a missing message or time becomes None, and a ProtocolError where the field needs one;
- a oneof body that this version does not know becomes None, which the session ignores and counts.
"""

from __future__ import annotations

import dataclasses
import functools
import types as python_types
import typing
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, TypeVar

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import DecodeError, Message
from google.protobuf.timestamp_pb2 import Timestamp

from headrace import api, messages, types
from headrace.errors import ProtocolError
from headrace.v1 import channel_pb2, management_pb2, types_pb2

T = TypeVar("T")
_Encode = Callable[[Any], Any]
_Decode = Callable[[Message, str], Any]


@dataclasses.dataclass(frozen=True, slots=True)
class ErrorDetail:
    """What rides beside a failed call's status; see `headrace.errors`."""

    code: str
    faults: tuple[types.Fault, ...] = ()
    confirm: int = 0


def encode(value: object) -> bytes:
    """The wire form of any dataclass that has a message of its name."""
    return _to_message(value).SerializeToString()


def decode(cls: type[T], data: bytes) -> T:
    """The dataclass that the bytes stand for; raises ProtocolError."""
    return _from_message(cls, _parse(_message_class(cls), data))


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


def _parse(message_class: type[Message], data: bytes) -> Message:
    try:
        return message_class.FromString(data)
    except DecodeError as error:
        raise ProtocolError(f"{message_class.DESCRIPTOR.name}: {len(data)} bytes are not such a message") from error


def _wrap(envelope: type[Message], value: object) -> bytes:
    return envelope(**{_BODY_FIELD[envelope][type(value)]: _to_message(value)}).SerializeToString()


def _unwrap(envelope: type[Message], data: bytes) -> object | None:
    outer = _parse(envelope, data)
    field = outer.WhichOneof("body")
    return None if field is None else _from_message(_BODY_CLASS[envelope][field], getattr(outer, field))


def _to_message(value: object) -> Message:
    message_class, converters = _encoders(type(value))
    fields = {}
    for name, convert in converters:
        item = getattr(value, name)
        if item:  # proto3 leaves defaults out; an optional scalar's 0 is the one exception
            fields[name] = convert(item)
        elif item is not None and name in _OPTIONAL_SCALARS.get(type(value).__name__, ()):
            fields[name] = item
    return message_class(**fields)


def _from_message(cls: type[T], message: Message) -> T:
    return cls(**{name: convert(message, name) for name, convert in _decoders(cls)})


# How a dataclass finds its message, and an envelope its bodies.

_MESSAGES: Mapping[str, type[Message]] = {
    name: getattr(module, name)
    for module in (types_pb2, channel_pb2, management_pb2)
    for name in module.DESCRIPTOR.message_types_by_name
}
_DATACLASSES: Mapping[str, type[Any]] = {
    name: cls
    for module in (types, messages, api)
    for name, cls in vars(module).items()
    if isinstance(cls, type) and dataclasses.is_dataclass(cls) and cls.__module__ == module.__name__
} | {"ErrorDetail": ErrorDetail}
_BODY_CLASS: Mapping[type[Message], Mapping[str, type[Any]]] = {
    envelope: {
        field.name: _DATACLASSES[field.message_type.name] for field in envelope.DESCRIPTOR.oneofs_by_name["body"].fields
    }
    for envelope in (channel_pb2.AgentMessage, channel_pb2.ServerMessage)
}
_BODY_FIELD: Mapping[type[Message], Mapping[type[Any], str]] = {
    envelope: {cls: name for name, cls in bodies.items()} for envelope, bodies in _BODY_CLASS.items()
}
_OPTIONAL_SCALARS: Mapping[str, frozenset[str]] = {
    name: frozenset(f.name for f in message.DESCRIPTOR.fields if f.has_presence and not f.message_type)
    for name, message in _MESSAGES.items()
}


def _message_class(cls: type[Any]) -> type[Message]:
    return _MESSAGES[cls.__name__]


@functools.cache
def _fields(cls: type[Any]) -> list[tuple[dataclasses.Field[Any], Any, FieldDescriptor]]:
    """Each field with its type and its descriptor; a mismatch is a defect found at first use, and by a test."""
    wire = _message_class(cls).DESCRIPTOR.fields_by_name
    hints = typing.get_type_hints(cls)
    own = dataclasses.fields(cls)
    if {field.name for field in own} != set(wire):
        raise TypeError(f"{cls.__name__}: fields differ from its message: {({f.name for f in own}) ^ set(wire)}")
    return [(field, hints[field.name], wire[field.name]) for field in own]


@functools.cache
def _encoders(cls: type[Any]) -> tuple[type[Message], tuple[tuple[str, _Encode], ...]]:
    return _message_class(cls), tuple((field.name, _encoder(hint, wire)) for field, hint, wire in _fields(cls))


@functools.cache
def _decoders(cls: type[Any]) -> tuple[tuple[str, _Decode], ...]:
    return tuple((field.name, _decoder(cls, field, hint, wire)) for field, hint, wire in _fields(cls))


def _encoder(hint: Any, wire: FieldDescriptor) -> _Encode:
    if _is_map(wire):
        return dict
    if wire.enum_type is not None:
        prefix = _enum_prefix(wire)
        numbers = {value.name: value.number for value in wire.enum_type.values}
        return lambda member: numbers[prefix + member.name]
    if wire.message_type is None:
        return _identity
    one = _timestamp if wire.message_type.full_name == Timestamp.DESCRIPTOR.full_name else _to_message
    return (lambda items: [one(item) for item in items]) if wire.is_repeated else one


def _decoder(cls: type[Any], field: dataclasses.Field[Any], hint: Any, wire: FieldDescriptor) -> _Decode:
    if _is_map(wire):
        return lambda message, name: dict(getattr(message, name))
    inner, optional = _inner(hint)
    if wire.enum_type is not None:
        return _enum_decoder(cls, field, inner, optional, wire)
    if wire.message_type is None:
        if wire.is_repeated:
            return lambda message, name: tuple(getattr(message, name))
        if wire.has_presence:
            return lambda message, name: getattr(message, name) if message.HasField(name) else None
        return getattr
    if inner is datetime:
        one: Callable[[Any], Any] = _datetime
    else:
        one = functools.partial(_from_message, inner)
    if wire.is_repeated:
        return lambda message, name: tuple(one(item) for item in getattr(message, name))

    def required_or_none(message: Message, name: str) -> Any:
        if message.HasField(name):
            return one(getattr(message, name))
        if optional:
            return None
        raise ProtocolError(f"{cls.__name__}: field {name!r} is missing")

    return required_or_none


def _enum_decoder(
    cls: type[Any], field: dataclasses.Field[Any], inner: type[StrEnum], optional: bool, wire: FieldDescriptor
) -> _Decode:
    prefix = _enum_prefix(wire)
    members = {
        value.number: inner[value.name.removeprefix(prefix)] for value in wire.enum_type.values if value.number != 0
    }
    has_default = field.default is not dataclasses.MISSING

    def convert(message: Message, name: str) -> StrEnum | None:
        number = getattr(message, name)
        member = members.get(number)
        if member is not None:
            return member
        if optional or has_default:
            return None if not has_default else typing.cast("StrEnum | None", field.default)
        raise ProtocolError(f"{cls.__name__}: field {name!r} has no value that this version knows ({number})")

    return convert


def _identity(value: Any) -> Any:
    return value


def _timestamp(value: datetime) -> Timestamp:
    stamp = Timestamp()
    stamp.FromDatetime(value)
    return stamp


def _datetime(stamp: Timestamp) -> datetime:
    try:
        return stamp.ToDatetime(tzinfo=UTC)
    except (ValueError, OverflowError) as error:
        raise ProtocolError(f"a time is out of range: {stamp.seconds} s") from error


def _is_map(wire: FieldDescriptor) -> bool:
    return wire.message_type is not None and bool(wire.message_type.GetOptions().map_entry)


def _enum_prefix(wire: FieldDescriptor) -> str:
    zero: str = wire.enum_type.values_by_number[0].name
    return zero.removesuffix("UNSPECIFIED")


def _inner(hint: Any) -> tuple[Any, bool]:
    """`tuple[X, ...]` and `X | None` to X, and whether None is allowed."""
    if typing.get_origin(hint) is tuple:
        return typing.get_args(hint)[0], False
    if typing.get_origin(hint) in (typing.Union, python_types.UnionType):
        return next(arg for arg in typing.get_args(hint) if arg is not type(None)), True
    return hint, False
