"""Ingresses from Debian before a control plane: nginx and HAProxy, which end TLS, or pass it through by TCP.

Each has the configuration that docs/ingress.md gives, with all of its timeouts set to one short time, and nothing else
that differs from its defaults: above all not the size of a call's body.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.certificates import key_of
from tests.processes import Program
from tests.servers import find, free_port, is_listening

KINDS = ("nginx", "haproxy")
_Set = tuple[Callable[[Path, int, str, Sequence[int], int], None], list[str | Path], signal.Signals]


@dataclass(frozen=True, kw_only=True)
class Ingress:
    """`url` ends TLS; under `/headrace` it does, too, and takes that off. `passthrough` is a host for another port."""

    url: str
    passthrough: str = "127.0.0.2"


@contextmanager
def ingress(
    kind: str, folder: Path, certificate: Path, *, upstream: str, doors: Sequence[int] = (), timeout_ms: int = 60_000
) -> Iterator[Ingress]:
    """One before `upstream`; ports of 127.0.0.2 that are `doors` lead on to those of 127.0.0.1."""
    folder.mkdir()
    port = free_port()
    write, command, stop_signal = {"nginx": _nginx, "haproxy": _haproxy}[kind](folder)
    write(certificate, port, upstream, doors, timeout_ms)
    with Program(command, folder=folder, name=kind, stop_signal=stop_signal) as program:
        program.wait_for(lambda: is_listening(port), what=f"{kind} takes connections")
        yield Ingress(url=f"https://127.0.0.1:{port}")


def _nginx(folder: Path) -> _Set:
    binary = find("nginx", "nginx", Path("/usr/sbin"))
    module = find("nginx-stream", "ngx_stream_module.so", Path("/usr/lib/nginx/modules"), mode=os.F_OK)

    def write(certificate: Path, port: int, upstream: str, doors: Sequence[int], timeout_ms: int) -> None:
        kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        temporary = "\n".join(f"  {kind}_temp_path {folder}/{kind};" for kind in kinds)
        timeouts = ("grpc_read_timeout", "grpc_send_timeout", "client_body_timeout", "keepalive_timeout")
        passthrough = "".join(
            f"  server {{ listen 127.0.0.2:{door}; proxy_pass 127.0.0.1:{door}; proxy_timeout {timeout_ms}ms; }}\n"
            for door in doors
        )
        (folder / "nginx.conf").write_text(f"""
{"user root;" if os.geteuid() == 0 else ""}
load_module {module};
daemon off;
worker_processes 1;
pid {folder}/nginx.pid;
events {{ worker_connections 256; }}
http {{
{temporary}
  access_log {folder}/access.log;
  server {{
    listen 127.0.0.1:{port} ssl http2;
    ssl_certificate {certificate};
    ssl_certificate_key {key_of(certificate)};
    {" ".join(f"{name} {timeout_ms}ms;" for name in timeouts)}
    location / {{ grpc_pass grpc://{upstream}; }}
    location /headrace/ {{
      rewrite ^/headrace(/.*)$ $1 break;
      grpc_pass grpc://{upstream};
    }}
  }}
}}
stream {{
{passthrough}}}
""")

    command = [binary, "-p", folder, "-e", folder / "error.log", "-c", folder / "nginx.conf"]
    return write, command, signal.SIGTERM


def _haproxy(folder: Path) -> _Set:
    binary = find("haproxy", "haproxy", Path("/usr/sbin"))

    def write(certificate: Path, port: int, upstream: str, doors: Sequence[int], timeout_ms: int) -> None:
        both = folder / "both.pem"
        both.write_bytes(certificate.read_bytes() + key_of(certificate).read_bytes())
        passthrough = "".join(
            f"listen passthrough-{door}\n  mode tcp\n  bind 127.0.0.2:{door}\n  server plane 127.0.0.1:{door}\n"
            for door in doors
        )
        (folder / "haproxy.cfg").write_text(f"""
defaults
  mode http
  timeout connect 5s
  timeout client {timeout_ms}ms
  timeout server {timeout_ms}ms
frontend agents
  bind 127.0.0.1:{port} ssl crt {both} alpn h2
  http-request replace-path /headrace(/.*) \\1
  default_backend plane
backend plane
  server plane {upstream} proto h2
{passthrough}""")

    return write, [binary, "-db", "-f", folder / "haproxy.cfg"], signal.SIGTERM
