"""Programs under `up`: listened to, ended in time, and never left behind."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from headrace.cli import child as child_
from headrace.cli import programs
from headrace.cli.child import Child
from headrace.errors import UnavailableError
from tests.processes import eventually, wait_until

PROGRAM = programs.Program(name="test program", module="json.tool", extra="none", probe="json")

Start = Callable[..., Child]


@pytest.fixture
def start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Start:
    def make(script: str, *, grace: float = 20.0, force: asyncio.Event | None = None) -> Child:
        monkeypatch.setattr(child_, "leashed", lambda *_: [sys.executable, "-u", "-c", script])
        force = force or asyncio.Event()
        return Child(PROGRAM, [], log=tmp_path / "log", tell=lambda _: None, force=force, grace=grace)

    return make


async def test_what_a_program_prints_is_logged_and_told(start: Start, tmp_path: Path) -> None:
    async with start("import sys; print('one'); print('two', file=sys.stderr); sys.exit(3)") as child:
        assert await child.ended() == 3
        assert set(child.last_words) == {"one", "two"}
    assert set((tmp_path / "log").read_text().split()) == {"one", "two"}


async def test_leaving_asks_the_program_to_end(start: Start, tmp_path: Path) -> None:
    script = (
        "import signal, sys; signal.signal(15, lambda *_: (print('bye'), sys.exit(0))); print('up'); signal.pause()"
    )
    async with start(script) as child:
        await eventually(lambda: "up" in child.last_words)
    assert child.last_words[-1] == "bye"


STUBBORN = "import signal; signal.signal(15, signal.SIG_IGN); print('up', flush=True)\nwhile True: signal.pause()"


async def test_a_program_that_does_not_end_is_killed(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(child_, "FORCED_GRACE_S", 0.05)
    async with start(STUBBORN, grace=0.05) as child:
        await eventually(lambda: "up" in child.last_words)
    assert await child.ended() == -9


async def test_force_shortens_the_grace(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(child_, "FORCED_GRACE_S", 0.05)
    force = asyncio.Event()
    force.set()
    async with start(STUBBORN, grace=3600, force=force) as child:
        await eventually(lambda: "up" in child.last_words)
    assert await child.ended() == -9


async def test_a_log_is_emptied_before_it_is_too_large(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(child_, "MAX_LOG_BYTES", 100_000)
    turned = tmp_path / "log.1"
    script = f"import pathlib\nwhile not pathlib.Path({str(turned)!r}).exists(): print('line')\nprint('the last')"
    async with start(script) as child:
        assert await child.ended() == 0
    assert child.last_words[-1] == "the last"
    assert (tmp_path / "log").read_text().endswith("the last\n")
    assert (tmp_path / "log").stat().st_size < turned.stat().st_size


async def test_what_an_earlier_run_said_is_kept_and_not_told_again(start: Start, tmp_path: Path) -> None:
    (tmp_path / "log").write_text("earlier\n")
    async with start("print('now')") as child:
        await child.ended()
    assert child.last_words == ("now",)
    assert (tmp_path / "log").read_text() == "earlier\nnow\n"


async def test_a_line_without_end_is_not_kept_whole(start: Start) -> None:
    async with start("import sys; sys.stdout.write('x' * 3_000_000)") as child:
        assert await child.ended() == 0
        assert len(child.last_words[-1]) <= 1 << 16


def test_a_program_does_not_outlive_a_killed_parent(tmp_path: Path) -> None:
    script = f"""
import asyncio, os, signal
from pathlib import Path
from headrace.cli import child, programs
async def main():
    program = programs.Program(name="p", module="http.server", extra="e", probe="json")
    arguments = ["--bind", "127.0.0.1", "0"]
    log = Path({str(tmp_path / "log")!r})
    made = child.Child(program, arguments, log=log, tell=print, force=asyncio.Event(), grace=1)
    await made.__aenter__()
    while not made.last_words:
        await asyncio.sleep(0.01)
    Path({str(tmp_path / "pid")!r}).write_text(str(made.pid))
    os.kill(os.getpid(), signal.SIGKILL)
asyncio.run(main())
"""
    ended = subprocess.run([sys.executable, "-c", script], env={**os.environ, "PYTHONUNBUFFERED": "1"}, check=False)
    assert ended.returncode == -9
    pid = int((tmp_path / "pid").read_text())
    wait_until(lambda: "http.server" not in _command_line(pid), what="the program has ended")


def _command_line(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text()
    except OSError:
        return ""


def test_a_missing_extra_is_named() -> None:
    missing = programs.Program(name="control plane", module="controlplane", extra="control", probe="no_such_package")
    with pytest.raises(UnavailableError, match=r"pip install 'headrace\[control\]'"):
        programs.command(missing, [])


def test_the_data_folder_is_the_users_own_unless_given(monkeypatch: pytest.MonkeyPatch) -> None:
    assert programs.data_dir(None, {"XDG_DATA_HOME": "/data"}) == Path("/data/headrace")
    monkeypatch.setenv("HOME", "/home/ann")
    assert programs.data_dir(None, {}) == Path("/home/ann/.local/share/headrace")
    assert programs.data_dir(Path("~/x"), {}) == Path("/home/ann/x")
    assert programs.data_dir(Path("x"), {}) == Path.cwd() / "x"
