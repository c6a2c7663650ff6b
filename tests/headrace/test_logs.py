"""The logger: a line that cannot be written takes nothing along."""

from __future__ import annotations

import errno
import io
from pathlib import Path

import pytest

from headrace.logs import Logger


class Full(io.StringIO):
    """A file on a full disk."""

    def write(self, text: str) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("method", ["msg", "info", "warning", "error", "exception", "critical"])
def test_a_full_disk_loses_the_line_and_nothing_else(method: str) -> None:
    getattr(Logger(Full()), method)("a line")


def test_a_line_is_written_at_once(tmp_path: Path) -> None:
    with (tmp_path / "log").open("w") as file:
        Logger(file).info("a line")
        assert (tmp_path / "log").read_text() == "a line\n"
