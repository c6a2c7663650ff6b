"""The command line: Fluent Bit's flags, exit codes and messages.

Exit codes: 0 stopped in order; 1 the configuration is refused; 2 wrong usage; 75 stopped, but records had to be left
behind (the log says where they are); 255 could not start, or a part failed while running. A plugin that stops the
engine (`exec`, `expect`) may say another.
"""

import argparse
import asyncio
import os
import signal
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import orjson

from agent.engine import inline, logs
from agent.engine.engine import Engine, Flags
from agent.engine.logs import ROOT as LOG
from agent.engine.plugin import PluginError
from agent.engine.registry import discover
from agent.engine.remainder import Remainder
from agent.engine.schema import schema
from agent.engine.service import Service
from agent.engine.version import engine_version
from headrace.config import ConfigError

REFUSED, USAGE, LEFT_BEHIND, FAILED = 1, 2, 75, 255


def main(arguments: list[str] | None = None) -> None:
    """Run and exit."""
    code = _main(sys.argv[1:] if arguments is None else arguments)
    sys.stdout.flush()
    sys.stderr.flush()
    # Not sys.exit: a thread that is stuck writing to a reader who does not read must not keep the process alive.
    os._exit(code)


def _main(arguments: list[str]) -> int:
    options = _parser().parse_args(arguments)
    if options.version:
        print(f"Headrace embedded engine v{engine_version()}")
        return 0
    discover()
    if options.schema:
        print(orjson.dumps(schema()).decode())
        return 0
    level = "error" if options.quiet else ("debug", "trace")[options.verbose - 1] if options.verbose else "info"
    logs.configure(level)
    if options.config is None and not any(what == "input" for what, _ in options.plugins):
        LOG.error("[config] no configuration; name a file with -c, or an input with -i")
        return REFUSED
    try:
        engine = Engine(_flags(options, level))
    except ConfigError as error:
        _report(error)
        LOG.error("configuration file contains errors, aborting.")
        return REFUSED
    return _check(engine) if options.dry_run else asyncio.run(_run(engine))


def _check(engine: Engine) -> int:
    try:
        engine.check()
    except ConfigError as error:
        _report(error)
        LOG.error("configuration file contains errors, aborting.")
        return REFUSED
    print("configuration test is successful")
    return 0


async def _run(engine: Engine) -> int:
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, engine.stop, signal.Signals(number).name)
    loop.add_signal_handler(signal.SIGHUP, engine.request_reload)
    try:
        remainder = await engine.run(lambda: LOG.info("[engine] started (pid=%d)", os.getpid()))
    except ConfigError as error:
        _report(error)
        LOG.error("configuration file contains errors, aborting.")
        return FAILED
    except (PluginError, RuntimeError) as error:
        LOG.error("[engine] %s", error)
        return FAILED
    return _farewell(remainder) or engine.exit_code


def _farewell(remainder: Remainder) -> int:
    if remainder:
        LOG.warning("[engine] service has stopped with undelivered records: %s", remainder)
        return LEFT_BEHIND
    LOG.info("[engine] service has stopped (0 pending tasks)")
    return 0


def _report(error: BaseException) -> None:
    for line in str(error).splitlines():
        LOG.error("[config] %s", line)


def _flags(options: argparse.Namespace, level: str) -> Flags:
    service = replace(Service(), log_level=level)
    if options.flush is not None:
        service = replace(service, flush=options.flush)
    if options.http_server:
        service = replace(service, http_server=True)
    if options.port is not None:
        service = replace(service, http_server=True, http_port=options.port)
    if options.listen is not None:
        service = replace(service, http_listen=options.listen)
    if options.hot_reload:
        service = replace(service, hot_reload=True)
    if options.trace:
        service = replace(service, enable_chunk_trace=True)
    if options.storage_path is not None:
        service = replace(service, storage_path=options.storage_path)
    if options.log_file is not None:
        service = replace(service, log_file=options.log_file)
    return Flags(
        config=Path(options.config) if options.config is not None else None,
        sections=inline.sections(options.plugins),
        parser_files=tuple(options.parsers),
        defaults=service,
    )


_PLUGIN_FLAGS = (
    ("-i", "--input", "input", "PLUGIN"),
    ("-F", "--filter", "filter", "PLUGIN"),
    ("-o", "--output", "output", "PLUGIN"),
    ("-p", "--prop", "property", "NAME=VALUE"),
    ("-t", "--tag", "tag", "TAG"),
    ("-m", "--match", "match", "PATTERN"),
)
_HELP = {
    "input": "add an input",
    "filter": "add a filter",
    "output": "add an output",
    "property": "a property of the plugin before",
    "tag": "the tag of the input before",
    "match": "what the filter or output before takes",
}


def _naming(what: str) -> Callable[[str], inline.Flag]:
    """What these flags say is kept in one list, because their order counts."""
    return lambda text: (what, text)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="agent.engine", description="Run a Fluent Bit configuration.", allow_abbrev=False
    )
    add = parser.add_argument
    add("-c", "--config", metavar="FILE", help="configuration, YAML or classic")
    for short, long, what, name in _PLUGIN_FLAGS:
        add(
            short, long, metavar=name, type=_naming(what), dest="plugins", action="append", default=[], help=_HELP[what]
        )
    add("-D", "--dry-run", action="store_true", help="check the configuration and end")
    add("-R", "--parser", dest="parsers", metavar="FILE", action="append", default=[], help="file with parsers")
    add("-f", "--flush", metavar="SECONDS", type=float, help="longest time that records gather")
    add("-b", "--storage_path", metavar="FOLDER", help="folder for chunks that outlive the process")
    add("-l", "--log_file", metavar="FILE", help="where the log goes instead of standard error")
    add("-H", "--http", dest="http_server", action="store_true", help="serve the monitoring API")
    add("-L", "--listen", metavar="ADDRESS", help="address of the monitoring API")
    add("-P", "--port", metavar="PORT", type=int, help="port of the monitoring API (also turns it on)")
    add("-Y", "--enable-hot-reload", dest="hot_reload", action="store_true", help="reload on SIGHUP or by the API")
    add("-Z", "--enable-chunk-trace", dest="trace", action="store_true", help="let /api/v1/trace tap inputs")
    add("-q", "--quiet", action="store_true", help="log errors only")
    add("-v", "--verbose", action="count", default=0, help="log more; twice: everything")
    add("-V", "--version", action="store_true", help="print the version and end")
    add("-J", "--help-json", dest="schema", action="store_true", help="print what every plugin takes as JSON and end")
    return parser
