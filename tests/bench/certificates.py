"""A throw-away authority in a folder, with a server's and an agent's certificate by it."""

from __future__ import annotations

import ssl
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from headrace.security import ClientTls


@dataclass(frozen=True, slots=True)
class Certificates:
    """What either end needs of the folder."""

    folder: Path

    @classmethod
    def made(cls, folder: Path) -> Self:
        """New ones, by openssl, which must be installed."""
        curve = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2")

        def openssl(*arguments: str) -> None:
            subprocess.run(["openssl", "req", "-x509", *curve, *arguments], cwd=folder, check=True, capture_output=True)

        openssl("-keyout", "ca.key", "-out", "ca.pem", "-subj", "/CN=bench authority")
        for name in ("server", "agent"):
            signed = ("-CA", "ca.pem", "-CAkey", "ca.key", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1")
            openssl("-keyout", f"{name}.key", "-out", f"{name}.pem", "-subj", f"/CN={name}", *signed)
        return cls(folder)

    def server_arguments(self) -> list[str | Path]:
        """For `controlplane serve`."""
        server = ("--tls-cert", self.folder / "server.pem", "--tls-key", self.folder / "server.key")
        return [*server, "--tls-client-ca", self.folder / "ca.pem"]

    def client(self) -> ClientTls:
        """For the product's own clients."""
        certificate, key = (self.folder / "agent.pem").read_bytes(), (self.folder / "agent.key").read_bytes()
        return ClientTls(ca=(self.folder / "ca.pem").read_bytes(), certificate=certificate, key=key)

    def context(self) -> ssl.SSLContext:
        """For the light client."""
        context = ssl.create_default_context(cafile=self.folder / "ca.pem")
        context.load_cert_chain(self.folder / "agent.pem", self.folder / "agent.key")
        context.set_alpn_protocols(["h2"])
        return context
