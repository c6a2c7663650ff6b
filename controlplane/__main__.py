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
from controlplane.fleet.lifecycle import Timings
from controlplane.identity.cluster import ClusterAddress
from controlplane.identity.proxies import USER_HEADER, Proxies
from controlplane.identity.scope import read_networks, read_scope
from controlplane.identity.service_accounts import AUDIENCE, AccountRules
from controlplane.metrics import DEFAULT, NONE, STORES
from controlplane.metrics.cleaning import DEFAULT_LABELS
from controlplane.settings import Door, Settings
from controlplane.stopping import Stop
from controlplane.telemetry import configure_logs
from headrace.errors import HeadraceError, InvalidError
from headrace.limits import DEFAULT_SAMPLE_S
from headrace.security import ServerTls
from headrace.server import CertificateFiles

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
        return command(options, _settings(options))
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


def _settings(options: argparse.Namespace) -> Settings:
    """Raises InvalidError."""
    if options.command is not _serve:
        return Settings(data_dir=options.data_dir, state=options.state)
    return Settings(
        data_dir=options.data_dir,
        state=options.state,
        metrics=options.metrics,
        fleet_metrics=options.fleet_metrics,
        sample_s=options.sample_interval,
        metric_labels=tuple(options.metric_label or DEFAULT_LABELS),
        http=Door(address=options.http, insecure=options.http_insecure),
        public_hosts=tuple(options.public_host or ()),
        grpc=Door(address=options.grpc, insecure=options.grpc_insecure),
        channel=Door(address=options.channel, insecure=options.channel_insecure),
        approve=options.approve == "manual",
        channel_mtls=Door(address=options.channel_mtls) if options.channel_mtls else None,
        grpc_mtls=Door(address=options.grpc_mtls) if options.grpc_mtls else None,
        client_ca=_read(options.client_ca) if options.client_ca else b"",
        proxies=_proxies(options),
        cluster=ClusterAddress.of_this_pod() if options.kubernetes_identity else None,
        accounts=_accounts(options),
        accounts_of=ClusterAddress.of_this_pod() if options.kubernetes_agents else None,
        ca_cert=options.ca_cert,
        ca_key=options.ca_key,
        certificate_s=options.certificate_lifetime,
        tls=_tls(options),
        management_token=_token(options.management_token_file) if options.management_token_file else "",
        secrets_key=options.secrets_key,
        heartbeat_s=options.heartbeat,
        timings=Timings(
            suspect=options.suspect or 3 * options.heartbeat,
            lost=options.lost or 5 * options.heartbeat,
            gone=options.gone,
        ),
        retention_s=options.retention,
        drain_s=options.drain,
        confirm_floor=options.confirm_floor,
    )


def _accounts(options: argparse.Namespace) -> AccountRules | None:
    if not options.kubernetes_agents:
        return None
    return AccountRules(
        accounts=tuple(options.kubernetes_agents),
        audience=options.kubernetes_audience,
        scope=read_scope(options.kubernetes_scope),
    )


def _tls(options: argparse.Namespace) -> ServerTls | None:
    if not (options.tls_cert or options.tls_key):
        return None
    if not (options.tls_cert and options.tls_key):
        raise InvalidError("TLS needs both --tls-cert and --tls-key")
    ca = _read(options.tls_client_ca) if options.tls_client_ca else b""
    files = CertificateFiles(options.tls_cert, options.tls_key)
    _, certificate, key = files.current()
    return ServerTls(certificate=certificate, key=key, client_ca=ca, current=files.current)


def _proxies(options: argparse.Namespace) -> Proxies:
    if (options.identity_header or options.groups_header) and not options.trusted_proxy:
        raise InvalidError("--identity-header and --groups-header are believed of a --trusted-proxy alone: give one")
    return Proxies(
        networks=read_networks(options.trusted_proxy or ()),
        user=(options.identity_header or USER_HEADER).lower(),
        groups=options.groups_header.lower(),
    )


def _token(path: Path) -> str:
    """Raises InvalidError for what no caller could send."""
    token = _read(path).decode(errors="replace").strip()
    if not (token and token.isascii() and token.isprintable()):
        raise InvalidError(f"{path} holds no token: that is one line of printable ASCII")
    return token


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InvalidError(f"{path}: {error.strerror}") from error


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
    for door, what, port in (("http", "health", 8400), ("grpc", "management", 8401), ("channel", "agents", 8402)):
        command.add_argument(
            f"--{door}", default=f"127.0.0.1:{port}", metavar="HOST:PORT", help=f"where {what} is served; port 0 is any"
        )
        command.add_argument(f"--{door}-insecure", action="store_true", help="allow plain text off loopback there")
    command.add_argument(
        "--public-host",
        action="append",
        metavar="HOST",
        help="name by which people reach the HTTP listener; may be repeated (loopback's and the bound one are known)",
    )
    command.add_argument("--tls-cert", type=Path, metavar="FILE", help="PEM certificate of all three")
    command.add_argument("--tls-key", type=Path, metavar="FILE", help="PEM key of it")
    command.add_argument("--tls-client-ca", type=Path, metavar="FILE", help="demand client certificates of this CA")
    command.add_argument(
        "--channel-mtls", default="", metavar="HOST:PORT", help="where agents get in by their certificates; needs TLS"
    )
    command.add_argument(
        "--grpc-mtls", default="", metavar="HOST:PORT", help="where people get in by their certificates; needs TLS"
    )
    command.add_argument("--client-ca", type=Path, metavar="FILE", help="PEM authorities of people's certificates")
    command.add_argument(
        "--trusted-proxy",
        action="append",
        metavar="CIDR",
        help="proxy that may say in a header who calls the management API; may be repeated",
    )
    command.add_argument(
        "--identity-header", default="", metavar="NAME", help="where it says so (default: x-forwarded-user)"
    )
    command.add_argument("--groups-header", default="", metavar="NAME", help="where it says their groups, by commas")
    command.add_argument(
        "--kubernetes-identity",
        action="store_true",
        help="people are known by the tokens of the cluster that this runs in, with roles by its RBAC",
    )
    command.add_argument(
        "--kubernetes-agents",
        action="append",
        metavar="NAMESPACE:SERVICEACCOUNT",
        help="agents enrol by projected tokens of this service account of this cluster; may be repeated",
    )
    command.add_argument("--kubernetes-audience", default=AUDIENCE, help=f"of those tokens (default: {AUDIENCE})")
    command.add_argument(
        "--kubernetes-scope", default="", metavar="SELECTOR", help="labels that those agents may claim (default: any)"
    )
    command.add_argument(
        "--ca-cert", type=Path, metavar="FILE", help="authority of agents' certificates (default: in the data folder)"
    )
    command.add_argument("--ca-key", type=Path, metavar="FILE", help="its key; the same pair for all replicas")
    command.add_argument("--certificate-lifetime", type=float, default=86_400.0, metavar="SECONDS")
    command.add_argument(
        "--approve",
        choices=("auto", "manual"),
        default="auto",
        help="whether agents with a good token wait for `headrace agent approve` (default: auto, they do not)",
    )
    command.add_argument(
        "--management-token-file", type=Path, metavar="FILE", help="the token to ask for (default: a fresh one)"
    )
    command.add_argument(
        "--secrets-key",
        type=Path,
        metavar="FILE",
        help="keys of secrets, the same on every replica (default: secrets.key in the data folder, made when needed)",
    )
    command.add_argument(
        "--metrics",
        default=DEFAULT,
        metavar="URL",
        help=f"metric store: {', '.join((NONE, *STORES))} (default: SQLite in the data folder)",
    )
    command.add_argument(
        "--metric-label",
        action="append",
        metavar="KEY",
        help=f"label of agents that is a tag of their metrics; may be repeated (default: {', '.join(DEFAULT_LABELS)})",
    )
    command.add_argument(
        "--fleet-metrics", action="store_true", help="the fleet's workload metrics at /metrics/fleet, for Prometheus"
    )
    command.add_argument(
        "--sample-interval",
        type=float,
        default=DEFAULT_SAMPLE_S,
        metavar="SECONDS",
        help="how often agents measure (default: 10)",
    )
    command.add_argument("--heartbeat", type=float, default=20.0, metavar="SECONDS")
    command.add_argument("--suspect", type=float, metavar="SECONDS", help="silence (default: 3 heartbeats)")
    command.add_argument("--lost", type=float, metavar="SECONDS", help="silence (default: 5 heartbeats)")
    command.add_argument("--gone", type=float, default=86_400.0, metavar="SECONDS", help="silence (default: a day)")
    command.add_argument(
        "--retention", type=float, default=30 * 86_400.0, metavar="SECONDS", help="of logs (default: 30 days)"
    )
    command.add_argument("--drain", type=float, metavar="SECONDS", help="time for agents to move at a stop")
    command.add_argument(
        "--confirm-floor", type=int, default=5, metavar="N", help="agents that may lose pipelines unconfirmed"
    )

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
