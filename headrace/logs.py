"""The logger behind structlog in both programs: a line that cannot be written is lost, and nothing else is.

On a full disk, or when whoever read the log is gone, a program must go on; so nothing is raised here.
"""

from __future__ import annotations

import contextlib
import sys
from typing import Any

import structlog


class Logger(structlog.PrintLogger):
    """Prints one line for each call."""

    def msg(self, message: str) -> None:
        with contextlib.suppress(OSError):
            super().msg(message)

    log = debug = info = warn = warning = error = critical = fatal = failure = exception = msg


def to_stderr(*_: Any) -> Logger:
    """A factory for `structlog.configure`."""
    return Logger(sys.stderr)
