"""The engine's log: Fluent Bit's own line format on standard error, so that what reads the one reads the other.

    [2026/11/22 10:00:00] [ info] [input:tail:tail.0] in.log: opened at offset 0

`LogCounter` counts lines by level, as `fluentbit_logger_logs_total` reports them.
"""

import logging
import sys
import time
from collections import Counter
from collections.abc import MutableMapping
from pathlib import Path
from typing import Any

ROOT = logging.getLogger("agent.engine")
TRACE = 5
LEVELS = {
    "off": logging.CRITICAL + 10,
    "error": logging.ERROR,
    "warn": logging.WARNING,
    "warning": logging.WARNING,
    "info": logging.INFO,
    "debug": logging.DEBUG,
    "trace": TRACE,
}
_NAMES = {
    logging.CRITICAL: "error",
    logging.ERROR: "error",
    logging.WARNING: "warn",
    logging.INFO: "info",
    TRACE: "trace",
}


class FluentFormatter(logging.Formatter):
    """One line per record: time in local time, level in five columns, who, message; a traceback follows indented."""

    def format(self, record: logging.LogRecord) -> str:
        when = time.strftime("%Y/%m/%d %H:%M:%S", time.localtime(record.created))
        line = f"[{when}] [{_NAMES.get(record.levelno, 'debug'):>5}] {record.getMessage()}"
        if record.exc_info:
            line += "\n" + self.formatException(record.exc_info)
        return line.replace("\n", "\n    ")


class LogCounter(logging.Handler):
    """Counts log lines by Fluent Bit's name of their level; `counts` is read by the monitoring API."""

    def __init__(self) -> None:
        super().__init__()
        self.counts: Counter[str] = Counter()

    def emit(self, record: logging.LogRecord) -> None:
        self.counts[_NAMES.get(record.levelno, "debug")] += 1


class PluginLog(logging.LoggerAdapter[logging.Logger]):
    """The log of one plugin instance: every line starts with `[kind:plugin:instance]`."""

    def __init__(self, kind: str, plugin: str, instance: str, level: str | None = None) -> None:
        logger = logging.Logger(f"{ROOT.name}.{kind}.{instance}", LEVELS[level] if level else logging.NOTSET)
        logger.parent = ROOT
        super().__init__(logger, {})
        self._prefix = f"[{kind}:{plugin}:{instance}] ".replace("%", "%%")

    def process(self, msg: Any, kwargs: MutableMapping[str, Any]) -> tuple[Any, MutableMapping[str, Any]]:
        return self._prefix + str(msg), kwargs


def configure(level: str, log_file: Path | None = None) -> LogCounter:
    """Send the engine's log to `log_file`, or to standard error, from `level` on; replaces what an earlier call set.

    Raises OSError when the file cannot be opened; the earlier setting is kept then.
    """
    lines: logging.Handler = logging.StreamHandler(sys.stderr)
    if log_file is not None:
        lines = logging.FileHandler(log_file, encoding="utf-8")
    lines.setFormatter(FluentFormatter())
    counter = LogCounter()
    for handler, name in ((lines, "engine lines"), (counter, "engine counter")):
        for earlier in [handler for handler in ROOT.handlers if handler.name == name]:
            ROOT.removeHandler(earlier)
            earlier.close()
        handler.name = name
        ROOT.addHandler(handler)
    ROOT.propagate = False
    ROOT.setLevel(LEVELS[level])
    return counter
