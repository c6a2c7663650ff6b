"""What agents report: taken from sessions, written with its transitions, and told as events."""

from controlplane.observed.history import History
from controlplane.observed.intake import Intake

__all__ = ["History", "Intake"]
