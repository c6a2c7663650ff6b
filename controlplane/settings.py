"""What a control plane is told at its start; every default is safe on a machine that others use too."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Literal

from controlplane import guard
from controlplane.fleet.lifecycle import Timings
from controlplane.identity.cluster import ClusterAddress
from controlplane.identity.proxies import Proxies
from controlplane.identity.service_accounts import AccountRules
from controlplane.metrics import DEFAULT, NONE
from controlplane.metrics.cleaning import DEFAULT_LABELS, check_labels
from headrace.errors import InvalidError
from headrace.limits import DEFAULT_LIMITS, DEFAULT_SAMPLE_S, LONGEST_SAMPLE_S, SHORTEST_SAMPLE_S, Limits
from headrace.security import ServerTls

LogFormat = Literal["console", "json"]
_SHORTEST_CERTIFICATE_S = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Door:
    """A listener: its address, and whether plain text is allowed off loopback."""

    address: str
    insecure: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Times in seconds. `state` is a URL; empty means a SQLite file in the data folder."""

    data_dir: Path
    state: str = ""
    metrics: str = DEFAULT
    """A URL, `sqlite`, or `none`."""
    metric_labels: tuple[str, ...] = DEFAULT_LABELS
    """Of agents, that become tags of their metrics."""
    sample_s: float = DEFAULT_SAMPLE_S
    """How often agents measure, unless they were told otherwise where they run."""
    fleet_metrics: bool = False
    """Whether the HTTP listener has the fleet's workload metrics for Prometheus."""
    http: Door = Door(address="127.0.0.1:8400")
    public_hosts: tuple[str, ...] = ()
    """What people call the HTTP listener, besides loopback's names and where it is bound."""
    grpc: Door = Door(address="127.0.0.1:8401")
    channel: Door = Door(address="127.0.0.1:8402")
    channel_mtls: Door | None = None
    """A second door for agents, which lets them in by the certificates that they got here; needs `tls`."""
    ca_cert: Path | None = None
    ca_key: Path | None = None
    """The authority that signs agents' certificates; None: one of its own in the data folder, where that is alone."""
    certificate_s: float = 24 * 3600.0
    """For how long a certificate is good."""
    approve: bool = False
    """Whether an operator has to approve of each agent, whatever its token says."""
    tls: ServerTls | None = None
    grpc_mtls: Door | None = None
    """A second door for people, which lets them in by their certificates; needs `tls` and `client_ca`."""
    client_ca: bytes = b""
    """PEM: the authorities of people's certificates."""
    current_client_ca: Callable[[], bytes] | None = None
    """What `client_ca` is now, asked at each handshake; None: what it is, it stays."""
    proxies: Proxies = field(default_factory=Proxies)
    """Who may say in a header who calls the management API."""
    cluster: ClusterAddress | None = None
    """The Kubernetes cluster that people are known by."""
    accounts: AccountRules | None = None
    """The service accounts of that cluster, or of `accounts_of`, by which agents enrol."""
    accounts_of: ClusterAddress | None = None
    management_token: str = ""
    """Empty: a fresh one at each start."""
    secrets_key: Path | None = None
    """The keys that secrets are encrypted with; None: `secrets.key` in the data folder, made at the first use."""
    heartbeat_s: float = 20.0
    timings: Timings = field(default_factory=Timings)
    retention_s: float = 30 * 24 * 3600.0
    drain_s: float | None = None
    """How long agents have to move at a stop; None: 5 s where another replica may take them, else none."""
    confirm_floor: int = guard.FLOOR
    limits: Limits = DEFAULT_LIMITS

    def __post_init__(self) -> None:
        """Raises InvalidError for settings that contradict each other."""
        check_labels(self.metric_labels)
        if not SHORTEST_SAMPLE_S <= self.sample_s <= LONGEST_SAMPLE_S:
            raise InvalidError(
                f"--sample-interval is from {SHORTEST_SAMPLE_S:.0f} to {LONGEST_SAMPLE_S:.0f} seconds, "
                f"not {self.sample_s:g}; to keep no metrics give --metrics none"
            )
        if self.fleet_metrics and self.metrics == NONE:
            raise InvalidError("--fleet-metrics needs a metric store, and --metrics none keeps none")
        steps = (0.0, self.heartbeat_s, self.timings.suspect, self.timings.lost, self.timings.gone)
        if any(shorter >= longer for shorter, longer in pairwise(steps)):
            raise InvalidError("times must grow: heartbeat, suspect, lost, gone")
        if (self.ca_cert is None) != (self.ca_key is None):
            raise InvalidError("an authority for agents' certificates needs both --ca-cert and --ca-key")
        if self.certificate_s < _SHORTEST_CERTIFICATE_S:
            raise InvalidError(f"--certificate-lifetime is {_SHORTEST_CERTIFICATE_S} seconds at least")
        if self.channel_mtls is not None and self.tls is None:
            raise InvalidError("--channel-mtls needs a certificate of the server too: --tls-cert and --tls-key")
        if self.channel_mtls is not None and not self.issues_certificates:
            raise InvalidError(
                "--channel-mtls: several control planes may share this state, and all of them must know agents by the "
                "same authority; give its files to each of them by --ca-cert and --ca-key"
            )
        if (self.grpc_mtls is None) != (not self.client_ca):
            raise InvalidError("people's certificates need both --grpc-mtls and --client-ca")
        if self.grpc_mtls is not None and self.tls is None:
            raise InvalidError("--grpc-mtls needs a certificate of the server too: --tls-cert and --tls-key")
        if self.confirm_floor < 0:
            raise InvalidError(f"--confirm-floor is a number of agents, not {self.confirm_floor}")

    @property
    def people_known_by(self) -> tuple[str, ...]:
        """The flags by which people can show who they are, besides as users with a token."""
        ways = {
            "--management-token-file": self.management_token,
            "--grpc-mtls": self.grpc_mtls,
            "--trusted-proxy": self.proxies.networks,
            "--kubernetes-identity": self.cluster,
        }
        return tuple(flag for flag, given in ways.items() if given)

    @property
    def issues_certificates(self) -> bool:
        """Whether there is an authority: one that is given, or where this control plane is alone, one of its own."""
        return self.ca_cert is not None or self.state_url.startswith("sqlite:")

    @property
    def state_url(self) -> str:
        """Where the state is."""
        return self.state or f"sqlite:///{self.data_dir.absolute() / 'state.db'}"

    @property
    def window_s(self) -> float:
        """How long agents have to move elsewhere before this process stops."""
        if self.drain_s is not None:
            return self.drain_s
        return 0.0 if self.state_url.startswith("sqlite:") else 5.0
