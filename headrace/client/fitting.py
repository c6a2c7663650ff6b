"""Makes a message of an agent fit what the other end takes, by leaving out words and never a truth. Pure."""

from __future__ import annotations

import dataclasses

from headrace import codec
from headrace.errors import LimitError
from headrace.messages import AgentMessage, Answer, Workloads
from headrace.types import Observed

# How many faults and notes of each workload are kept, at one try after the other.
_KEPT = (16, 4, 1, 0)


def fit(message: AgentMessage, limit: int) -> bytes:
    """The message's bytes, at most `limit` of them. Raises LimitError where nothing may be left out."""
    data = codec.encode_agent(message)
    if len(data) <= limit:
        return data
    match message:
        case Workloads():
            for keep in _KEPT:
                short = tuple(_shortened(observed, keep) for observed in message.observed)
                data = codec.encode_agent(dataclasses.replace(message, observed=short))
                if len(data) <= limit:
                    return data
        case Answer():  # the end of an output is what tells most
            surplus = len(data) - limit
            data = codec.encode_agent(dataclasses.replace(message, output=message.output[surplus:]))
    if len(data) > limit:
        raise LimitError(f"{type(message).__name__} of {len(data)} bytes: the control plane takes {limit} at most")
    return data


def _shortened(observed: Observed, keep: int) -> Observed:
    attempt = observed.attempt
    if attempt is not None:
        attempt = dataclasses.replace(attempt, faults=attempt.faults[:keep])
    return dataclasses.replace(observed, attempt=attempt, notes=observed.notes[:keep])
