"""The flags of `controlplane serve`, by what they are about, and the settings that they make."""

from __future__ import annotations

import argparse
from pathlib import Path

from controlplane.fleet.lifecycle import Timings
from controlplane.identity.cluster import ClusterAddress
from controlplane.identity.proxies import USER_HEADER, Proxies
from controlplane.identity.scope import read_networks, read_scope
from controlplane.identity.service_accounts import AUDIENCE, AccountRules
from controlplane.metrics import DEFAULT, NONE, STORES
from controlplane.metrics.cleaning import DEFAULT_LABELS
from controlplane.settings import Door, Settings
from headrace.errors import InvalidError
from headrace.limits import DEFAULT_SAMPLE_S
from headrace.security import ServerTls
from headrace.server import AuthorityFile, CertificateFiles


def add_flags(command: argparse.ArgumentParser) -> None:
    """Those of `serve`."""
    _listeners(command.add_argument_group("listeners"))
    _people(command.add_argument_group("people", "who calls the management API, besides users with a token"))
    _agents(command.add_argument_group("agents", "how they get in, and when their silence counts"))
    _metrics(command.add_argument_group("metrics"))
    _rest(command.add_argument_group("secrets, logs, and the safety of changes"))


def settings_of(options: argparse.Namespace) -> Settings:
    """What the flags of `serve` say. Raises InvalidError."""
    people = AuthorityFile(options.client_ca) if options.client_ca else None
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
        client_ca=people.current() if people else b"",
        current_client_ca=people.current if people else None,
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
    files = CertificateFiles(options.tls_cert, options.tls_key)
    _, certificate, key = files.current()
    callers = AuthorityFile(options.tls_client_ca) if options.tls_client_ca else None
    return ServerTls(
        certificate=certificate,
        key=key,
        client_ca=callers.current() if callers else b"",
        current=files.current,
        current_ca=callers.current if callers else None,
    )


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


def _listeners(group: argparse._ArgumentGroup) -> None:
    for door, what, port in (
        ("http", "health", 8400),
        ("grpc", "the management API", 8401),
        ("channel", "the channel of agents", 8402),
    ):
        group.add_argument(
            f"--{door}", default=f"127.0.0.1:{port}", metavar="HOST:PORT", help=f"where {what} is served; port 0 is any"
        )
        group.add_argument(f"--{door}-insecure", action="store_true", help="allow plain text off loopback there")
    group.add_argument(
        "--public-host",
        action="append",
        metavar="HOST",
        help="name by which people reach the HTTP listener; may be repeated (loopback's and the bound one are known)",
    )
    group.add_argument("--tls-cert", type=Path, metavar="FILE", help="PEM certificate of all three")
    group.add_argument("--tls-key", type=Path, metavar="FILE", help="PEM key of it")
    group.add_argument("--tls-client-ca", type=Path, metavar="FILE", help="demand client certificates of this CA")


def _people(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--management-token-file", type=Path, metavar="FILE", help="the token to ask for (default: a fresh one)"
    )
    group.add_argument(
        "--grpc-mtls", default="", metavar="HOST:PORT", help="where people get in by their certificates; needs TLS"
    )
    group.add_argument("--client-ca", type=Path, metavar="FILE", help="PEM authorities of people's certificates")
    group.add_argument(
        "--trusted-proxy",
        action="append",
        metavar="CIDR",
        help="proxy that may say in a header who calls the management API; may be repeated",
    )
    group.add_argument(
        "--identity-header", default="", metavar="NAME", help="where it says so (default: x-forwarded-user)"
    )
    group.add_argument("--groups-header", default="", metavar="NAME", help="where it says their groups, by commas")
    group.add_argument(
        "--kubernetes-identity",
        action="store_true",
        help="people are known by the tokens of the cluster that this runs in, with roles by its RBAC",
    )


def _agents(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--channel-mtls", default="", metavar="HOST:PORT", help="where agents get in by their certificates; needs TLS"
    )
    group.add_argument(
        "--ca-cert", type=Path, metavar="FILE", help="authority of agents' certificates (default: in the data folder)"
    )
    group.add_argument("--ca-key", type=Path, metavar="FILE", help="its key; the same pair for all replicas")
    group.add_argument("--certificate-lifetime", type=float, default=86_400.0, metavar="SECONDS")
    group.add_argument(
        "--approve",
        choices=("auto", "manual"),
        default="auto",
        help="whether agents with a good token wait for `headrace agent approve` (default: auto, they do not)",
    )
    group.add_argument(
        "--kubernetes-agents",
        action="append",
        metavar="NAMESPACE:SERVICEACCOUNT",
        help="agents enrol by projected tokens of this service account of this cluster; may be repeated",
    )
    group.add_argument("--kubernetes-audience", default=AUDIENCE, help=f"of those tokens (default: {AUDIENCE})")
    group.add_argument(
        "--kubernetes-scope", default="", metavar="SELECTOR", help="labels that those agents may claim (default: any)"
    )
    group.add_argument("--heartbeat", type=float, default=20.0, metavar="SECONDS")
    group.add_argument("--suspect", type=float, metavar="SECONDS", help="silence (default: 3 heartbeats)")
    group.add_argument("--lost", type=float, metavar="SECONDS", help="silence (default: 5 heartbeats)")
    group.add_argument("--gone", type=float, default=86_400.0, metavar="SECONDS", help="silence (default: a day)")
    group.add_argument("--drain", type=float, metavar="SECONDS", help="time for agents to move at a stop")


def _metrics(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--metrics",
        default=DEFAULT,
        metavar="URL",
        help=f"metric store: {', '.join((NONE, *STORES))} (default: SQLite in the data folder)",
    )
    group.add_argument(
        "--metric-label",
        action="append",
        metavar="KEY",
        help=f"label of agents that is a tag of their metrics; may be repeated (default: {', '.join(DEFAULT_LABELS)})",
    )
    group.add_argument(
        "--fleet-metrics", action="store_true", help="the fleet's workload metrics at /metrics/fleet, for Prometheus"
    )
    group.add_argument(
        "--sample-interval",
        type=float,
        default=DEFAULT_SAMPLE_S,
        metavar="SECONDS",
        help="how often agents measure (default: 10)",
    )


def _rest(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--secrets-key",
        type=Path,
        metavar="FILE",
        help="keys of secrets, the same on every replica (default: secrets.key in the data folder, made when needed)",
    )
    group.add_argument(
        "--retention", type=float, default=30 * 86_400.0, metavar="SECONDS", help="of logs (default: 30 days)"
    )
    group.add_argument(
        "--confirm-floor", type=int, default=5, metavar="N", help="agents that may lose pipelines unconfirmed"
    )
