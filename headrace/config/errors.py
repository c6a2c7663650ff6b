"""What is wrong with a configuration, where, and what to do about it.

A configuration is checked as a whole: `ConfigError` carries every fault that was found, each with its position, so
that one round of corrections is enough. Bad input raises nothing else.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from headrace.config.model import Position


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that is wrong; as text, `file:line:column: message`."""

    position: Position
    message: str

    def __str__(self) -> str:
        return f"{self.position}: {self.message}"


class ConfigError(ValueError):
    """A configuration that cannot be used. `faults` is never empty."""

    def __init__(self, faults: Iterable[Fault]) -> None:
        self.faults: tuple[Fault, ...] = tuple(faults)
        super().__init__("\n".join(str(fault) for fault in self.faults))
