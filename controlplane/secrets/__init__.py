"""Secrets for pipelines: values that are encrypted at rest, and given only to agents that need them."""

from controlplane.secrets.rules import Secrets

__all__ = ["Secrets"]
