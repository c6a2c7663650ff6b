"""The RPCs of the agents' channel, by name."""

from __future__ import annotations

from collections.abc import Mapping

from headrace import messages
from headrace.rpcs.rpc import Rpc, rpcs
from headrace.v1 import channel_pb2

CHANNEL_SERVICE: str = channel_pb2.DESCRIPTOR.services_by_name["Channel"].full_name

CHANNEL: Mapping[str, Rpc] = rpcs(channel_pb2.DESCRIPTOR, vars(messages))
"""`Connect` carries envelopes, so its classes are `object`: see `headrace.codec`."""
