"""What runs pipelines on this host: which engines there are, and which one a pipeline gets."""

from agent.runtimes.base import EngineLostError, Instance, Launch, Report, Runtime
from agent.runtimes.choice import find_runtimes, resolve
from agent.runtimes.fluentbit import end_trial

__all__ = ["EngineLostError", "Instance", "Launch", "Report", "Runtime", "end_trial", "find_runtimes", "resolve"]
