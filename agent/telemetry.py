"""Logging: one line per change of state, for people on a terminal and as JSON everywhere else, always on stderr."""

from __future__ import annotations

import logging
import sys
from typing import Any

import structlog

from headrace.logs import to_stderr

FORMATS = ("auto", "console", "json")


def set_up_logging(format: str = "auto", level: int = logging.INFO) -> None:
    """Once per process; `auto` is console on a terminal."""
    is_console = format == "console" or (format == "auto" and sys.stderr.isatty())
    renderer: Any = (
        structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty()) if is_console else structlog.processors.JSONRenderer()
    )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.StackInfoRenderer(),
            *(() if is_console else (structlog.processors.format_exc_info,)),
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=to_stderr,
    )
