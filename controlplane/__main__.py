"""`python -m controlplane serve|migrate|backup|restore`: the control plane's own start command.

Exit status: 0 done, 1 refused or failed, 2 wrong usage.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import aclosing
from pathlib import Path

from controlplane.app import opened, serve
from controlplane.flags import add_flags, settings_of
from controlplane.settings import Settings
from controlplane.stopping import Stop
from controlplane.telemetry import configure_logs
from headrace.errors import HeadraceError, InvalidError

_PIECE = 1 << 20

# The interpreter looks for cycles after every 700 new objects, and a fan-out makes tens of thousands that live: with
# 5,000 sessions that took a third of the time. docs/performance.md has the numbers.
_COLLECT_AFTER = (50_000, 20, 50)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; answers its exit status."""
    options = _parser().parse_args(arguments)
    configure_logs(options.log_format)
    command: Callable[[argparse.Namespace, Settings], int] = options.command
    try:
        offline = Settings(data_dir=options.data_dir, state=options.state)
        return command(options, settings_of(options) if command is _serve else offline)
    except* HeadraceError as errors:
        for error in _leaves(errors):
            sys.stderr.write(f"controlplane: {error}\n")
    return 1


def _serve(options: argparse.Namespace, settings: Settings) -> int:
    async def run() -> None:
        stop, loop = Stop(), asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, stop.ask)
        await serve(settings, stop)

    gc.freeze()
    gc.set_threshold(*_COLLECT_AFTER)
    asyncio.run(run())
    return 0


def _migrate(options: argparse.Namespace, settings: Settings) -> int:
    async def run() -> None:
        async with opened(settings.state_url) as store, store.read() as reader:
            plane = await reader.plane()
            sys.stdout.write(
                f"{store.description}: instance {plane.instance_id}, epoch {plane.epoch}, at the newest schema\n"
            )

    _make_folder(settings)
    asyncio.run(run())
    return 0


def _backup(options: argparse.Namespace, settings: Settings) -> int:
    async def run() -> None:
        async with opened(settings.state_url) as store, aclosing(store.dump()) as pieces:
            with options.file.open("xb") as file:
                os.fchmod(file.fileno(), 0o600)
                async for piece in pieces:
                    file.write(piece)

    try:
        asyncio.run(run())
    except OSError as error:
        raise InvalidError(f"{options.file}: {error.strerror}") from error
    return 0


def _restore(options: argparse.Namespace, settings: Settings) -> int:
    async def run() -> None:
        async with opened(settings.state_url) as store:
            plane = await store.load(_pieces(options.file))
            sys.stdout.write(
                f"{store.description}: instance {plane.instance_id} restored, epoch {plane.epoch} begins\n"
            )

    if not options.file.is_file():
        raise InvalidError(f"{options.file} is no file")
    _make_folder(settings)
    asyncio.run(run())
    return 0


def _pieces(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while piece := file.read(_PIECE):
            yield piece


def _make_folder(settings: Settings) -> None:
    settings.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)


def _leaves(group: BaseExceptionGroup[HeadraceError]) -> Iterator[HeadraceError]:
    for error in group.exceptions:
        if isinstance(error, BaseExceptionGroup):
            yield from _leaves(error)
        else:
            yield error


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="controlplane", description="The control plane of Headrace.")
    commands = parser.add_subparsers(title="commands", required=True)
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--data-dir", type=Path, required=True, help="folder of this control plane")
    common.add_argument("--state", default="", metavar="URL", help="state store (default: SQLite in the data folder)")
    common.add_argument("--log-format", choices=("console", "json"), default="console")

    command = commands.add_parser(
        "serve", parents=[common], help="serve until SIGTERM or SIGINT; a second one forces it"
    )
    command.set_defaults(command=_serve)
    add_flags(command)

    command = commands.add_parser("migrate", parents=[common], help="bring the state to the newest schema")
    command.set_defaults(command=_migrate)
    command = commands.add_parser("backup", parents=[common], help="write the state to a file, offline")
    command.add_argument("file", type=Path)
    command.set_defaults(command=_backup)
    command = commands.add_parser("restore", parents=[common], help="replace the state by a backup, offline")
    command.add_argument("file", type=Path)
    command.set_defaults(command=_restore)
    return parser


if __name__ == "__main__":
    sys.exit(main())
