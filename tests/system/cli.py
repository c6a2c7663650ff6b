"""The command line `headrace` as one user of it runs it: a subprocess, with a home that is a folder of the test."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Cli:
    """The command line of one user, whose home is a folder of the test; without a token it is found there."""

    home: Path
    server: str = ""
    token: str = ""

    @property
    def environment(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("HEADRACE_", "XDG_"))}
        ours = {"HOME": str(self.home), "HEADRACE_SERVER": self.server, "HEADRACE_TOKEN": self.token}
        return {**kept, **{name: value for name, value in ours.items() if value}}

    def run(
        self, *arguments: object, timeout: float = 120, stdin: str | None = None
    ) -> subprocess.CompletedProcess[str]:
        """How a command ended, whatever its exit code; a traceback fails the test."""
        command = [sys.executable, "-P", "-m", "headrace.cli", *map(str, arguments)]
        ended = subprocess.run(
            command, env=self.environment, capture_output=True, text=True, timeout=timeout, check=False, input=stdin
        )
        assert "Traceback" not in ended.stderr, f"{arguments}:\n{ended.stderr}"
        return ended

    def __call__(self, *arguments: object, exits: int = 0) -> str:
        """What it printed; both outputs where it is meant to fail."""
        ended = self.run(*arguments)
        assert ended.returncode == exits, f"{arguments}: exit {ended.returncode}\n{ended.stdout}\n{ended.stderr}"
        return ended.stdout if exits == 0 else ended.stdout + ended.stderr

    def json(self, *arguments: object) -> Any:
        return json.loads(self(*arguments, "-o", "json"))
