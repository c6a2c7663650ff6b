"""The codec: every dataclass survives the wire, the unknown is harmless, and nothing else passes."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
import types
import typing
from collections.abc import Mapping
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace import api, codec, messages
from headrace import types as vocabulary
from headrace.errors import InvalidError, ProtocolError
from headrace.messages import Close, Command, Desired, EnrollRequest, Heartbeat, Hello, Welcome, Workloads
from headrace.types import AttemptState, CloseReason, CommandKind, Encoding, Facts, Observed
from headrace.v1 import channel_pb2, management_pb2, types_pb2

WIRE = (types_pb2, channel_pb2, management_pb2)
DATACLASSES = {
    name: cls
    for module in (vocabulary, messages, api, codec)
    for name, cls in vars(module).items()
    if dataclasses.is_dataclass(cls) and cls.__name__ == name and cls.__module__.startswith(module.__name__)
}
ENVELOPES = {"AgentMessage", "ServerMessage"}
TEXT = st.text(st.characters(codec="utf-8"), max_size=12)
TIMES = st.datetimes(datetime(1, 1, 2), datetime(9999, 12, 30), timezones=st.just(UTC))


def values_of(hint: Any, wire: Any) -> st.SearchStrategy[Any]:
    """Every value that a field of this type may hold, within what its wire type holds."""
    arguments = typing.get_args(hint)
    match typing.get_origin(hint):
        case origin if origin in (typing.Union, types.UnionType):
            (inner,) = (argument for argument in arguments if argument is not type(None))
            return st.none() | values_of(inner, wire)
        case origin if origin is tuple:
            return st.lists(values_of(arguments[0], wire), max_size=3).map(tuple)
        case origin if origin is Mapping:
            value = wire.message_type.fields_by_name["value"]
            return st.dictionaries(TEXT, values_of(arguments[1], value), max_size=3)
    if dataclasses.is_dataclass(hint):
        return instances_of(typing.cast("type[Any]", hint))
    if isinstance(hint, type) and issubclass(hint, StrEnum):
        return st.sampled_from(hint)
    if hint is int:
        bits = 32 if wire.type in (wire.TYPE_UINT32, wire.TYPE_INT32, wire.TYPE_SINT32) else 64
        signed = wire.type in (wire.TYPE_INT32, wire.TYPE_INT64, wire.TYPE_SINT32, wire.TYPE_SINT64)
        return st.integers(-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else st.integers(0, 2**bits - 1)
    simple = {
        bool: st.booleans(),
        str: TEXT,
        bytes: st.binary(max_size=12),
        float: st.floats(allow_nan=False),
        datetime: TIMES,
    }
    return simple[hint]


def instances_of(cls: type[Any]) -> st.SearchStrategy[Any]:
    hints = typing.get_type_hints(cls)
    wire = message_of(cls.__name__).DESCRIPTOR.fields_by_name
    fields = {field.name: values_of(hints[field.name], wire[field.name]) for field in dataclasses.fields(cls)}
    return st.builds(cls, **fields)


def message_of(name: str) -> Any:
    return next(getattr(module, name) for module in WIRE if hasattr(module, name))


MESSAGES = st.sampled_from(sorted(DATACLASSES)).flatmap(lambda name: instances_of(DATACLASSES[name]))
FROM_AGENT = st.one_of([instances_of(cls) for cls in typing.get_args(messages.AgentMessage)])
FROM_SERVER = st.one_of([instances_of(cls) for cls in typing.get_args(messages.ServerMessage)])


def test_every_message_has_its_dataclass_and_every_dataclass_its_message() -> None:
    on_the_wire = {name for module in WIRE for name in module.DESCRIPTOR.message_types_by_name} - ENVELOPES
    assert set(DATACLASSES) == on_the_wire


@pytest.mark.parametrize("name", sorted(DATACLASSES))
def test_a_dataclass_has_the_fields_of_its_message(name: str) -> None:
    assert {field.name for field in dataclasses.fields(DATACLASSES[name])} == set(
        message_of(name).DESCRIPTOR.fields_by_name
    )


@pytest.mark.parametrize(
    ("envelope", "union"),
    [(channel_pb2.AgentMessage, messages.AgentMessage), (channel_pb2.ServerMessage, messages.ServerMessage)],
)
def test_an_envelope_carries_exactly_the_messages_of_its_union(envelope: Any, union: Any) -> None:
    bodies = {field.message_type.name for field in envelope.DESCRIPTOR.oneofs_by_name["body"].fields}
    assert bodies == {cls.__name__ for cls in typing.get_args(union)}


@given(MESSAGES)
def test_every_message_comes_back_as_it_was(message: Any) -> None:
    assert codec.decode(type(message), codec.encode(message)) == message


@given(FROM_AGENT)
def test_what_an_agent_sends_comes_back_from_its_envelope(message: messages.AgentMessage) -> None:
    assert codec.decode_agent(codec.encode_agent(message)) == message


@given(FROM_SERVER)
def test_what_the_control_plane_sends_comes_back_from_its_envelope(message: messages.ServerMessage) -> None:
    assert codec.decode_server(codec.encode_server(message)) == message


@given(st.data())
def test_truncated_bytes_are_another_message_or_a_protocol_error(data: st.DataObject) -> None:
    whole = codec.encode_agent(data.draw(FROM_AGENT))
    cut = whole[: data.draw(st.integers(0, max(len(whole) - 1, 0)))]
    try:
        codec.decode_agent(cut)
    except ProtocolError:
        pass


@given(st.binary(max_size=200), st.sampled_from([codec.decode_agent, codec.decode_server]))
def test_any_bytes_are_a_message_or_a_protocol_error(data: bytes, decode: Any) -> None:
    try:
        decode(data)
    except ProtocolError:
        pass


def test_an_optional_number_keeps_its_zero() -> None:
    request = api.ApplyPipelinesRequest(if_revision=0)
    assert codec.decode(api.ApplyPipelinesRequest, codec.encode(request)).if_revision == 0
    assert codec.decode(api.ApplyPipelinesRequest, b"").if_revision is None


@pytest.mark.parametrize("number", [0, 99])
def test_an_enum_value_that_is_unknown_becomes_the_default(number: int) -> None:
    attempt = types_pb2.Attempt(generation=3, state=number, step=number)
    decoded = codec.decode(vocabulary.Attempt, attempt.SerializeToString())
    assert (decoded.state, decoded.step) == (AttemptState.PENDING, None)
    desired = channel_pb2.Desired(pipeline="web", encoding=number)
    assert codec.decode(Desired, desired.SerializeToString()).encoding is Encoding.IDENTITY


def test_an_enum_value_without_a_default_is_refused_when_unknown() -> None:
    with pytest.raises(ProtocolError, match=r"Close: field 'reason' has no value that this version knows \(99\)"):
        codec.decode(Close, channel_pb2.Close(reason=99).SerializeToString())
    command = channel_pb2.Command(id="c-1", kind=99)
    with pytest.raises(ProtocolError, match="Command: field 'kind'"):
        codec.decode(Command, command.SerializeToString())


def test_every_value_of_an_enum_has_its_number() -> None:
    for reason in CloseReason:
        assert codec.decode(Close, codec.encode(Close(reason=reason))).reason is reason
    for kind in CommandKind:
        assert codec.decode(Command, codec.encode(Command(id="c", kind=kind))).kind is kind


def test_a_kind_of_message_that_is_unknown_is_none() -> None:
    unknown = b"\xfa\x01\x02hi"  # field 31, length-delimited
    assert codec.decode_agent(unknown) is None
    assert codec.decode_server(unknown) is None
    assert codec.decode_agent(b"") is None


def test_a_field_that_is_unknown_is_ignored() -> None:
    known = codec.encode(Hello(agent_id="a-1", boot_id="b", session_number=1))
    assert codec.decode(Hello, known + b"\xfa\x01\x02hi") == codec.decode(Hello, known)


def test_a_message_that_must_be_there_is_asked_for_by_name() -> None:
    with pytest.raises(ProtocolError, match="EnrollRequest: field 'facts' is missing"):
        codec.decode(EnrollRequest, b"")


def test_a_time_out_of_range_is_a_protocol_error() -> None:
    attempt = types_pb2.Attempt(generation=1)
    attempt.at.seconds = 2**62
    with pytest.raises(ProtocolError, match="time is out of range"):
        codec.decode(vocabulary.Attempt, attempt.SerializeToString())


@pytest.mark.parametrize(
    ("message", "field"),
    [
        (Welcome(session_id="s", instance_id="i", epoch=-1), "Welcome: field 'epoch'"),
        (Welcome(session_id="s", instance_id="i", epoch=2**64), "Welcome: field 'epoch'"),
        (Workloads(observed=(Observed(pipeline="\udcff"),)), "Observed: field 'pipeline'"),
        (Facts(name="n", labels={"role": "\udcff"}), "Facts: field 'labels'"),
    ],
)
def test_what_the_wire_cannot_hold_is_refused_by_field(message: Any, field: str) -> None:
    with pytest.raises(InvalidError, match=field):
        codec.encode(message)


def test_a_heartbeat_is_two_bytes_and_a_welcome_small() -> None:
    assert len(codec.encode_agent(Heartbeat())) == 2
    welcome = Welcome(session_id="s" * 32, instance_id="i" * 32, epoch=7)
    assert len(codec.encode_server(welcome)) < 100


def test_the_library_itself_imports_nothing_heavy() -> None:
    code = "import sys, headrace; print({'grpc', 'google', 'yaml', 'structlog', 'asyncio'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "set()\n"
