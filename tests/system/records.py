"""Numbered lines in a log, and a pipeline that carries each of them on: what is missing or doubled at the end shows."""

from __future__ import annotations

import itertools
import threading
from collections import Counter
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.processes import wait_until
from tests.system.plane import Agent

_PAUSE_S = 0.005


class Feed:
    """A program's log: numbered lines, some hundred a second, for as long as the context lasts."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.written = 0
        """How many lines so far; the first one is number 0."""
        self._log = folder / "in.log"
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="feed")
        folder.mkdir()
        self._log.touch()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def pipeline(self, version: int = 1) -> str:
        """A configuration that writes each line's number and this version, in a file of each agent's own."""
        return f"""
service:
  flush: 0.2
pipeline:
  inputs:
    - name: tail
      path: {self._log}
      tag: feed
      db: offsets.db
      read_from_head: true
  filters:
    - name: record_modifier
      match: '*'
      record: version {version}
  outputs:
    - name: file
      match: '*'
      path: {self.folder}
      file: ${{HEADRACE_AGENT}}.out
      format: template
      template: '{{log}} {{version}}'
"""

    def arrived(self, agent: str = "a-1") -> list[tuple[int, int]]:
        """Number and version of every line that came out so far."""
        out = self.folder / f"{agent}.out"
        lines = out.read_text().split("\n")[:-1] if out.exists() else []
        return [(int(number), int(version)) for number, _, version in (line.partition(" ") for line in lines)]

    def until_flowing(self, agent: str = "a-1", *, version: int | None = None) -> None:
        """Until a line has arrived that is written from now on; by this version, if one is named."""
        now = self.written
        wait_until(
            lambda: any(n >= now and version in (None, v) for n, v in self.arrived(agent)[-200:]),
            timeout=40,
            what=f"a line after number {now} arrives at {agent}",
        )

    def complete(self, agent: Agent) -> Counter[int]:
        """Ends the feed, and the agent once every line came out; how often each one did."""
        self.stop()

        def counts() -> Counter[int]:
            return Counter(number for number, _ in self.arrived(agent.name))

        everything = {*range(self.written)}
        try:
            wait_until(lambda: {*counts()} >= everything, timeout=40)
        except AssertionError:
            missing = sorted(everything - {*counts()})
            raise AssertionError(f"{len(missing)} of {self.written} lines are lost, first {missing[:10]}") from None
        agent.stop()
        return counts()

    def stop(self) -> None:
        """No more lines."""
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        with self._log.open("a", buffering=1) as log:
            for number in itertools.count():
                log.write(f"{number}\n")
                self.written = number + 1
                if self._stop.wait(_PAUSE_S):
                    break
