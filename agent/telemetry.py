"""Logging: one line per change of state, for people on a terminal and as JSON everywhere else, always on stderr."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterator, MutableMapping
from contextlib import contextmanager
from typing import Any

import structlog

from headrace.logs import to_stderr
from headrace.masking import Mask

FORMATS = ("auto", "console", "json")

_masks: list[Callable[[], Mask]] = []


@contextmanager
def masked_logs(mask: Callable[[], Mask]) -> Iterator[None]:
    """Keeps these secrets out of every log line for as long as the block lasts."""
    _masks.append(mask)
    try:
        yield
    finally:
        _masks.remove(mask)


def set_up_logging(format: str = "auto", level: int = logging.INFO) -> None:
    """Once per process; `auto` is console on a terminal."""
    is_console = format == "console" or (format == "auto" and sys.stderr.isatty())
    renderer: Any = (
        structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback)
        if is_console
        else structlog.processors.JSONRenderer()
    )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.StackInfoRenderer(),
            structlog.processors.format_exc_info,
            _without_secrets,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=to_stderr,
    )


def _without_secrets(logger: object, method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    for mask in _masks:
        event = {key: mask().any(value) for key, value in event.items()}
    return event
