"""The formats of parsers, one per file; `FORMATS` is the closed list."""

from collections.abc import Mapping

from agent.engine.parser import Make
from agent.engine.parsers.json import JsonParser
from agent.engine.parsers.logfmt import LogfmtParser
from agent.engine.parsers.ltsv import LtsvParser
from agent.engine.parsers.regex import RegexParser

FORMATS: Mapping[str, Make] = {"json": JsonParser, "regex": RegexParser, "logfmt": LogfmtParser, "ltsv": LtsvParser}

__all__ = ["FORMATS"]
