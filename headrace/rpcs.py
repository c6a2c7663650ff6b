"""Every RPC as data, read from the descriptors: its path, its dataclasses, and whether each side streams."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor

from headrace import api, messages
from headrace.v1 import channel_pb2, management_pb2


@dataclass(frozen=True, slots=True, kw_only=True)
class Rpc:
    """One RPC; `method` is its name in snake case, `request` and `response` the dataclasses on its wire."""

    name: str
    service: str
    method: str
    request: type[Any]
    response: type[Any]
    client_streaming: bool
    server_streaming: bool

    @property
    def path(self) -> str:
        """As HTTP/2 has it."""
        return f"/{self.service}/{self.name}"


def _rpc(service: ServiceDescriptor, method: MethodDescriptor, classes: Mapping[str, type[Any]]) -> Rpc:
    return Rpc(
        name=method.name,
        service=service.full_name,
        method=re.sub(r"(?<!^)(?=[A-Z])", "_", method.name).lower(),
        request=classes.get(method.input_type.name, object),
        response=classes.get(method.output_type.name, object),
        client_streaming=method.client_streaming,
        server_streaming=method.server_streaming,
    )


CHANNEL_SERVICE: str = channel_pb2.DESCRIPTOR.services_by_name["Channel"].full_name

CHANNEL: Mapping[str, Rpc] = {
    method.name: _rpc(service, method, vars(messages))
    for service in channel_pb2.DESCRIPTOR.services_by_name.values()
    for method in service.methods
}
"""Of the agents' channel, by name. `Connect` carries envelopes, so its classes are `object`: see `headrace.codec`."""

MANAGEMENT: Mapping[str, Rpc] = {
    method.name: _rpc(service, method, vars(api))
    for service in management_pb2.DESCRIPTOR.services_by_name.values()
    for method in service.methods
}
"""Of the management API, by name; names are unique over its services."""
