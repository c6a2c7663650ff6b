"""`headrace-agent`: run an agent, validate a configuration on this host, see how an agent is doing, and what ails it.

Errors go to stderr, one line each; status 0 done, 1 refused or failed, 2 usage.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from agent import settings as settings_
from agent.app import STATUS, App
from agent.model import Record
from agent.records import load
from agent.runtimes.process import holders
from agent.settings import Settings
from agent.telemetry import FORMATS, set_up_logging
from agent.validation import validate_file
from headrace.errors import HeadraceError
from headrace.limits import LONGEST_SAMPLE_S, SHORTEST_SAMPLE_S
from headrace.types import Engine


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; answers its exit status."""
    options = _parser(os.environ).parse_args(arguments)
    command: Callable[[argparse.Namespace], int] = options.command
    try:
        return command(options)
    except HeadraceError as error:
        print(f"headrace-agent: {error.message}", file=sys.stderr)
        return 1


def _run(options: argparse.Namespace) -> int:
    settings = _settings(options)
    set_up_logging(options.log_format)
    asyncio.run(App(settings).run())
    return 0


def _validate(options: argparse.Namespace) -> int:
    faults = asyncio.run(validate_file(options.file, _settings(options), dict(os.environ)))
    for fault in faults:
        print(fault, file=sys.stderr)
    if not faults:
        print(f"{options.file}: valid on this host")
    return 1 if faults else 0


def _status(options: argparse.Namespace) -> int:
    folder = options.data_dir
    if not folder.is_dir():
        raise settings_.SettingsError(f"there is no agent in {folder}; name its folder by --data-dir")
    running = bool(holders(folder / "agent.lock"))
    status = {"data_dir": str(folder), "running": running, **_document(folder / STATUS)}
    status["connected"] = bool(status["running"] and status.get("connected"))
    status["workloads"] = [_workload(path) for path in sorted((folder / "records").glob("*.json"))]
    if options.output == "json":
        print(json.dumps(status, indent=2))
        return 0 if status["running"] else 1
    print(f"agent      {'running, process ' + str(status.get('pid')) if status['running'] else 'not running'}")
    print(f"server     {status.get('server') or '-'} ({'connected' if status['connected'] else 'not connected'})")
    for each in status["workloads"]:
        print(f"pipeline   {each['pipeline']}: {each['phase']}, desired {each['desired']}, running {each['running']}")
    return 0 if status["running"] else 1


def _doctor(options: argparse.Namespace) -> int:
    from agent.doctor import Verdict, examine

    findings = asyncio.run(examine(_settings(options), options.log_path, now=datetime.now(UTC)))
    if options.output == "json":
        print(json.dumps([asdict(finding) for finding in findings], indent=2))
    else:
        for finding in findings:
            print(finding)
    return 1 if any(finding.verdict is Verdict.FAIL for finding in findings) else 0


def _version(options: argparse.Namespace) -> int:
    print(f"headrace-agent {version('headrace')}")
    return 0


def _settings(options: argparse.Namespace) -> Settings:
    return Settings(
        data_dir=options.data_dir,
        server=options.server,
        token=options.token,
        token_file=options.token_file,
        kubernetes_token_file=options.kubernetes_token_file,
        name=options.name,
        labels=settings_.parse_labels(tuple(options.label)),
        engine=options.engine,
        fluent_bit=options.fluent_bit,
        policy=settings_.load_policy(
            options.policy,
            allow_plugins=tuple(options.allow_plugin),
            deny_plugins=tuple(options.deny_plugin),
            paths=tuple(options.allow_path),
            is_root=os.geteuid() == 0,
        ),
        tls=settings_.load_tls(
            enabled=options.tls,
            ca=options.tls_ca,
            certificate=options.tls_cert,
            key=options.tls_key,
            ca_data=options.tls_ca_data,
        ),
        insecure=options.channel_insecure,
        max_applies=options.max_applies,
        settle_s=options.settle,
        sample_s=options.sample_interval,
        spool_bytes=options.spool_size,
        metrics=options.metrics,
    )


def _parser(environment: Mapping[str, str]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="headrace-agent", description=__doc__.partition("\n")[0])
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    run = commands.add_parser("run", help="run the pipelines that the control plane desires")
    validate = commands.add_parser("validate", help="check a Fluent Bit configuration as this agent would")
    validate.add_argument("file", type=Path, help="YAML or classic")
    status = commands.add_parser("status", help="how the agent of a data folder is doing; 1 when none runs")
    status.add_argument("-o", "--output", choices=("table", "json"), default="table")
    doctor = commands.add_parser("doctor", help="what is wrong between here and the control plane; 1 when something is")
    doctor.add_argument("--log-path", action="append", default=[], metavar="GLOB", help="logs that pipelines will read")
    doctor.add_argument("-o", "--output", choices=("table", "json"), default="table")
    about = commands.add_parser("version", help="the version of this agent")

    for command, do in ((run, _run), (validate, _validate), (status, _status), (doctor, _doctor), (about, _version)):
        command.set_defaults(command=do)
    for command in (run, validate, status, doctor):
        add = _Adder(command, environment)
        add(
            "--data-dir",
            type=Path,
            default=settings_.default_data_dir(environment),
            help="where the agent keeps its state",
        )
    for command in (run, validate, doctor):
        _add_settings(_Adder(command, environment), environment)
    return parser


def _add_settings(add: _Adder, environment: Mapping[str, str]) -> None:
    add(
        "--server",
        default="",
        metavar="HOST:PORT",
        help="the control plane's channel, or https://HOST[:PORT][/PREFIX]; without it the agent runs what it has",
    )
    add("--token-file", type=Path, metavar="FILE", help="bootstrap token; read again for each enrolment")
    add(
        "--kubernetes-token-file",
        type=Path,
        default=settings_.PROJECTED if settings_.PROJECTED.exists() else None,
        metavar="FILE",
        help=f"service-account token, in place of a bootstrap token (default: {settings_.PROJECTED}, if it is there)",
    )
    add("--token", default="", help="the same as text; a file is safer")
    add("--name", default=settings_.default_name(environment), help="what people see")
    add("--label", action="append", default=[], metavar="KEY=VALUE", help="a claim about this host; may be repeated")
    add("--engine", type=Engine, choices=list(Engine), default="auto", help="what pipelines may run on")
    add("--fluent-bit", type=Path, metavar="PATH", help="the program to use; else FLUENT_BIT_BIN, else the PATH")
    add("--policy", type=Path, metavar="FILE", help="YAML rules that the control plane cannot override")
    add("--allow-plugin", action="append", default=[], metavar="NAME", help="lift a denial; may be repeated")
    add("--deny-plugin", action="append", default=[], metavar="NAME", help="deny a plugin, '*' all; may be repeated")
    add("--allow-path", action="append", default=[], metavar="PATH", help="let pipelines use this path and no other")
    add("--tls", action="store_true", help="speak TLS to the control plane, trusting the usual authorities")
    add("--tls-ca", type=Path, metavar="FILE", help="speak TLS, trusting these certificates (PEM)")
    add("--tls-ca-data", default="", metavar="BASE64", help="the same, as text; `token create --format` prints it")
    add("--tls-cert", type=Path, metavar="FILE", help="client certificate, where the control plane demands one")
    add("--tls-key", type=Path, metavar="FILE", help="its key")
    add("--channel-insecure", action="store_true", help="plain text to a control plane that is not on loopback")
    add("--max-applies", type=int, default=4, metavar="N", help="how many workloads may change at once")
    add("--settle", type=_seconds, default=5.0, metavar="SECONDS", help="so long a change must run well to be good")
    add(
        "--sample-interval",
        type=_interval,
        metavar="SECONDS",
        help="how often to measure, whatever the control plane says; 0 is never",
    )
    add("--spool-size", type=_size, default=64 << 20, metavar="SIZE", help="metrics kept on disk until they are stored")
    add(
        "--metrics", default="", metavar="HOST:PORT", help="serve the agent's own metrics to Prometheus; off by default"
    )
    add("--log-format", choices=FORMATS, default="auto", help="auto is console on a terminal, else json")


class _Adder:
    """Adds options whose default is in the environment: `--data-dir` in HEADRACE_AGENT_DATA_DIR, and so on.

    Not in HEADRACE_SERVER or HEADRACE_TOKEN, which are those of the operators' command.
    """

    def __init__(self, parser: argparse.ArgumentParser, environment: Mapping[str, str]) -> None:
        self._parser = parser
        self._environment = environment

    def __call__(self, flag: str, **details: Any) -> None:
        value = self._environment.get("HEADRACE_AGENT_" + flag.removeprefix("--").replace("-", "_").upper())
        if value is not None:
            match details.get("action"):
                case "append":
                    details["default"] = value.split(",")
                case "store_true":
                    details["default"] = value.lower() in ("1", "true", "yes", "on")
                case _:
                    details["default"] = value
        self._parser.add_argument(flag, **details)


def _seconds(text: str) -> float:
    return float(text.removesuffix("s"))


def _interval(text: str) -> float:
    seconds = _seconds(text)
    if seconds != 0 and not SHORTEST_SAMPLE_S <= seconds <= LONGEST_SAMPLE_S:
        bounds = f"{SHORTEST_SAMPLE_S:.0f} and {LONGEST_SAMPLE_S:.0f}"
        raise argparse.ArgumentTypeError(f"{text!r} is neither 0 nor between {bounds} seconds")
    return seconds


def _size(text: str) -> int:
    number, unit = text[:-1], text[-1:].upper()
    factor = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30}.get(unit)
    size = int(number) * factor if factor else int(text)
    if size < 1 << 20:
        raise argparse.ArgumentTypeError(f"{text!r} is less than 1M")
    return size


def _workload(path: Path) -> dict[str, object]:
    record = load(Record, _document(path)["value"])
    attempt = record.attempt
    return {
        "pipeline": record.pipeline,
        "desired": record.desired.generation if record.desired else 0,
        "running": record.run.target.generation if record.run else 0,
        "good": record.good.generation if record.good else 0,
        "attempt": attempt.state.value if attempt else None,
        "phase": "removed" if record.removal else attempt.state.value if attempt else "pending",
        "faults": [str(fault) for fault in attempt.faults] if attempt else [],
    }


def _document(path: Path) -> dict[str, Any]:
    try:
        document = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return document if isinstance(document, dict) else {}
