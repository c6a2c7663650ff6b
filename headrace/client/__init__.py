"""The agent's side of the channel: a host writes an `AgentHandler`, enrols once, and runs an `AgentChannel`."""

from headrace.client.channel import AgentChannel
from headrace.client.enrolment import enroll
from headrace.client.handler import AgentHandler, Backlog, ChannelState, Identity, OnTime
from headrace.session import PlaneSeen

__all__ = ["AgentChannel", "AgentHandler", "Backlog", "ChannelState", "Identity", "OnTime", "PlaneSeen", "enroll"]
