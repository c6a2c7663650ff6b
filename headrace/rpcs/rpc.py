"""An RPC as data, read from its descriptor: its path, its dataclasses, and whether each side streams."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from google.protobuf.descriptor import FileDescriptor, MethodDescriptor, ServiceDescriptor


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


def rpcs(file: FileDescriptor, classes: Mapping[str, type[Any]]) -> Mapping[str, Rpc]:
    """Those of a file's services by name, which is unique over them; `classes` by the names of their messages."""
    return {
        method.name: _rpc(service, method, classes)
        for service in file.services_by_name.values()
        for method in service.methods
    }


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
