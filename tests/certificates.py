"""Certificates that tests make for themselves with the `openssl` command, good for 127.0.0.1 and two days."""

from __future__ import annotations

import subprocess
from pathlib import Path

from tests.servers import find


def make_certificate(folder: Path, name: str, *, names: str = "IP:127.0.0.1", days: int = 2) -> Path:
    """A self-signed one; its key is beside it. Skips or fails the test without openssl."""
    program = find("openssl", "openssl", Path("/usr/bin"))
    path = folder / f"{name}.pem"
    kind = ["-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", str(days)]
    about = ["-subj", "/CN=test", "-addext", f"subjectAltName={names}"]
    files = ["-keyout", str(key_of(path)), "-out", str(path)]
    subprocess.run([program, "req", *kind, *about, *files], check=True, capture_output=True)
    return path


def key_of(certificate: Path) -> Path:
    """Where its key is."""
    return certificate.with_suffix(".key")
