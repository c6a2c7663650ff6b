"""Numbers with their nouns, for messages. Pure."""

from __future__ import annotations


def some(number: int, noun: str) -> str:
    """`1 agent`, `7 agents`; the noun takes a plain s."""
    return f"{number} {noun}{'' if number == 1 else 's'}"
