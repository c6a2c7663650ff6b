"""What the doctor says of one thing: how it is, what was found, and what to do. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Self


class Verdict(StrEnum):
    """A warning keeps no agent from working now."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """Of `check`, a word that stays the same."""

    check: str
    verdict: Verdict
    found: str
    advice: str = ""

    @classmethod
    def ok(cls, check: str, found: str) -> Self:
        """As it should be."""
        return cls(check=check, verdict=Verdict.OK, found=found)

    @classmethod
    def warn(cls, check: str, found: str, advice: str) -> Self:
        """Worth knowing."""
        return cls(check=check, verdict=Verdict.WARN, found=found, advice=advice)

    @classmethod
    def fail(cls, check: str, found: str, advice: str) -> Self:
        """In the way."""
        return cls(check=check, verdict=Verdict.FAIL, found=found, advice=advice)

    def __str__(self) -> str:
        return f"{self.verdict:<4}  {self.check:<11}  {self.found}" + (f"\n{'':19}{self.advice}" if self.advice else "")
