"""How a wait is shown while it lasts: a live board on a terminal, else one line per change; always on stderr."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Sequence
from types import TracebackType
from typing import Any, Self

from headrace.cli.exits import printable, say
from headrace.cli.rollout import Standing, Verdict

_COLOURS = {Verdict.DONE: "green", Verdict.FAILED: "red", Verdict.WAITING: "yellow", Verdict.AWAY: "dim"}
_ORDER = (Verdict.FAILED, Verdict.WAITING, Verdict.AWAY, Verdict.DONE)


class Progress:
    """A context manager; `show` is given every standing, each time that one may have changed."""

    def __init__(self, *, live: bool | None = None) -> None:
        self._is_live = sys.stderr.isatty() if live is None else live
        self._live: Any = None
        self._said: dict[tuple[str, str], str] = {}

    def __enter__(self) -> Self:
        if self._is_live:
            from rich.console import Console
            from rich.live import Live

            self._live = Live(console=Console(stderr=True), refresh_per_second=8, transient=True)
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None

    def show(self, standings: Sequence[Standing]) -> None:
        """Draw the board anew, or say what is new in it."""
        if self._live is not None:
            self._live.update(_board(standings, rows=max(3, self._live.console.size.height - 4)))
            return
        for standing in standings:
            key = standing.pipeline, standing.agent_id
            line = line_of(standing)
            if self._said.get(key) != line:
                self._said[key] = line
                say(line)

    def finish(self, standings: Sequence[Standing]) -> None:
        """Leave behind what must be read: on a terminal the board is gone by now, so each agent that is not done."""
        if self._is_live:
            for standing in standings:
                if standing.verdict is not Verdict.DONE:
                    say(line_of(standing))


def line_of(standing: Standing) -> str:
    """`nginx on edge-1: good: generation 7 runs (healthy)`."""
    return f"{standing.pipeline} on {standing.agent}: {standing.text}"


def summary(standings: Sequence[Standing]) -> str:
    """`3 done, 1 failed`."""
    counts = Counter(standing.verdict for standing in standings)
    return ", ".join(f"{counts[verdict]} {verdict}" for verdict in reversed(_ORDER) if counts[verdict])


def _board(standings: Sequence[Standing], *, rows: int) -> Any:
    from rich.text import Text

    board = Text()
    shown = sorted(standings, key=lambda standing: _ORDER.index(standing.verdict))[:rows]
    for standing in shown:
        board.append(f"{standing.verdict:8}", style=_COLOURS[standing.verdict])
        board.append(printable(f" {standing.pipeline} on {standing.agent}: {standing.text}\n"))
    if more := len(standings) - len(shown):
        board.append(f"… and {more} more\n", style="dim")
    board.append(summary(standings) or "waiting for the control plane", style="bold")
    return board
