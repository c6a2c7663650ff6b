"""The RPCs of the management API, by name."""

from __future__ import annotations

from collections.abc import Mapping

from headrace import api
from headrace.rpcs.rpc import Rpc, rpcs
from headrace.v1 import management_pb2

MANAGEMENT: Mapping[str, Rpc] = rpcs(management_pb2.DESCRIPTOR, vars(api))
