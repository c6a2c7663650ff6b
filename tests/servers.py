"""Real servers for tests, on free loopback ports, ended and erased whatever happens.

A server that is not installed skips the tests that need it, or fails them where HEADRACE_REQUIRE names it. Under
pytest-xdist every worker has servers of its own.
"""

from __future__ import annotations

import itertools
import json
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests import processes
from tests.processes import Program, wait_until

_PACKAGES = {
    "postgres": "postgresql",
    "pgbouncer": "pgbouncer",
    "nginx": "nginx",
    "nginx-stream": "libnginx-mod-stream",
    "haproxy": "haproxy",
    "openssl": "openssl",
    "influxd": "influxdb",
    "victoria-metrics": "victoria-metrics",
    "prometheus": "prometheus",
    "rsyslog": "rsyslog",
    "journal": "systemd systemd-journal-remote",
}
_ROLE = "headrace"
"""Owns the tests' databases, and is no superuser."""
_PORTS = 17_000
_ports = (15_000 + (os.getpid() * 97 + number) % _PORTS for number in itertools.count())


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[Postgres]:
    """A PostgreSQL of this worker's own; tests that stop or kill it leave it running."""
    with Postgres.installed() as server:
        yield server


@pytest.fixture
def postgres_url(postgres_server: Postgres) -> Iterator[str]:
    """A new, empty database: `postgresql://…`, owned by a role that is no superuser."""
    with postgres_server.database() as name:
        yield postgres_server.url(name)


@pytest.fixture
def pgbouncer_url(postgres_server: Postgres, postgres_url: str) -> Iterator[str]:
    """`postgres_url`'s database behind a transaction-pooling proxy."""
    with pgbouncer(postgres_server) as port:
        database = postgres_url.rpartition("/")[2]
        yield f"postgresql://{_ROLE}@127.0.0.1:{port}/{database}"


@pytest.fixture
def nginx(tmp_path: Path) -> Iterator[Nginx]:
    """An nginx of this test's own, answering 200 to everything."""
    with Nginx.installed(tmp_path / "nginx") as server:
        yield server


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    """An empty journal, and a journalctl that can read it."""
    find("journal", "journalctl", Path("/usr/bin"))
    return Journal(find("journal", "systemd-journal-remote", Path("/lib/systemd")), tmp_path / "journal")


@pytest.fixture
def rsyslog(tmp_path: Path) -> Callable[[str], AbstractContextManager[Path]]:
    """Starts an rsyslog of this test's own with an action; gives its socket, to which programs log."""
    return lambda action: _rsyslog(tmp_path / "rsyslog", action)


class Postgres:
    """One PostgreSQL cluster in a folder of its own; start, stop and kill keep its port and data."""

    def __init__(self, binaries: Path, folder: Path, user: str | None) -> None:
        self._binaries, self._folder, self._user = binaries, folder, user
        self._program: Program | None = None
        self._databases = 0
        self.port = free_port()

    @classmethod
    @contextmanager
    def installed(cls) -> Iterator[Postgres]:
        """A running cluster; skips or fails the test when PostgreSQL is not installed."""
        binaries = find("postgres", "initdb", _newest("/usr/lib/postgresql/*/bin")).parent
        with _open_folder("pg") as (folder, user):
            server = cls(binaries, folder, user)
            server._initialise()
            try:
                server.start()
                server.run(f"CREATE ROLE {_ROLE} LOGIN")
                yield server
            finally:
                server.stop()

    def url(self, database: str = "postgres", *, role: str = _ROLE) -> str:
        return f"postgresql://{role}@127.0.0.1:{self.port}/{database}"

    @contextmanager
    def database(self) -> Iterator[str]:
        """The name of a new database; whoever is still connected at the end is thrown out."""
        self._databases += 1
        name = f"test_{self._databases}"
        self.run(f"CREATE DATABASE {name} OWNER {_ROLE}")
        try:
            yield name
        finally:
            self.run(f"DROP DATABASE {name} WITH (FORCE)")

    def run(self, sql: str, *, database: str = "postgres") -> str:
        """What psql prints for a statement that a superuser runs."""
        command = [self._binaries / "psql", "-XAtq", "-v", "ON_ERROR_STOP=1", "-c", sql]
        done = subprocess.run(
            [*command, self.url(database, role="postgres")], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"psql: {sql!r}: {done.stderr}"
        return done.stdout.strip()

    def start(self) -> None:
        """Starts it, after a kill too, and returns when it takes connections."""
        (self._folder / "data/postmaster.pid").unlink(missing_ok=True)
        self._program = Program(
            [self._binaries / "postgres", "-D", self._folder / "data"],
            folder=self._folder,
            name="postgres",
            user=self._user,
            stop_signal=signal.SIGINT,  # does not wait for clients
        )
        processes.LASTING.add(self._program.pid)
        self._program.wait_for(self._is_ready, what="PostgreSQL takes connections")

    def stop(self) -> None:
        """Ends it in order, throwing clients out."""
        if self._program is not None:
            self._program.stop()
            self._forget()

    def kill(self) -> None:
        """`kill -9` of the server and all its workers, so that nothing keeps `start` from working at once."""
        assert self._program is not None, "the server does not run"
        self._program.kill()
        self._forget()

    def restart(self) -> None:
        self.stop()
        self.start()

    def _forget(self) -> None:
        assert self._program is not None
        processes.kill_all_in(self._folder)
        wait_until(lambda: not processes.processes_in(self._folder), what="PostgreSQL's processes have ended")
        processes.LASTING.discard(self._program.pid)
        self._program = None

    def _initialise(self) -> None:
        command = [self._binaries / "initdb", "--pgdata", self._folder / "data", "--username=postgres"]
        options = ["--auth=trust", "--encoding=UTF8", "--no-locale", "--no-sync", "--no-instructions"]
        with Program([*command, *options], folder=self._folder, name="initdb", user=self._user) as program:
            status = program.wait(60)
            assert status == 0, f"initdb failed with status {status}: {program.output}"
        settings = {
            "listen_addresses": "127.0.0.1",
            "port": self.port,
            "unix_socket_directories": self._folder,
            "fsync": "off",
            "full_page_writes": "off",
            "max_connections": 200,
        }
        with (self._folder / "data/postgresql.conf").open("a") as file:
            file.writelines(f"{name} = '{value}'\n" for name, value in settings.items())

    def _is_ready(self) -> bool:
        try:
            return "ready" in (self._folder / "data/postmaster.pid").read_text().splitlines()[7:8][0]
        except (FileNotFoundError, IndexError):
            return False


@contextmanager
def pgbouncer(server: Postgres) -> Iterator[int]:
    """A transaction-pooling proxy before every database of the server; gives its port."""
    binary = find("pgbouncer", "pgbouncer", Path("/usr/sbin"))
    port = free_port()
    with _open_folder("bouncer") as (folder, user):
        settings = f"""
            [databases]
            * = host=127.0.0.1 port={server.port} user={_ROLE}
            [pgbouncer]
            listen_addr = 127.0.0.1
            listen_port = {port}
            unix_socket_dir =
            ; "any" lets everybody in, as the user of the line above
            auth_type = any
            pool_mode = transaction
            ignore_startup_parameters = extra_float_digits
            """
        (folder / "pgbouncer.ini").write_text("\n".join(line.strip() for line in settings.splitlines()))
        command = [binary, folder / "pgbouncer.ini"]
        with Program(command, folder=folder, user=user, stop_signal=signal.SIGINT) as program:
            program.wait_for(lambda: is_listening(port), what="PgBouncer takes connections")
            yield port


class Journal:
    """A journal in a folder of its own, which journalctl reads; nobody but `write` writes to it."""

    def __init__(self, writer: Path, folder: Path) -> None:
        self.folder = folder
        self._writer = writer
        self._time = 1_772_359_200_000_000
        folder.mkdir()

    def write(self, *entries: dict[str, str | bytes]) -> None:
        """Appends entries, a second apart."""
        text = b""
        for entry in entries:
            self._time += 1_000_000
            text += b"__REALTIME_TIMESTAMP=%d\n__MONOTONIC_TIMESTAMP=%d\n" % (self._time, self._time)
            text += b"_BOOT_ID=0123456789abcdef0123456789abcdef\n"
            for name, value in entry.items():
                data = value if isinstance(value, bytes) else value.encode()
                text += b"%s\n%s%s\n" % (name.encode(), len(data).to_bytes(8, "little"), data)
            text += b"\n"
        source = self.folder.with_suffix(".export")
        source.write_bytes(text)
        command = [self._writer, f"--output={self.folder}/system.journal", source]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr


@contextmanager
def _rsyslog(folder: Path, action: str) -> Iterator[Path]:
    binary = find("rsyslog", "rsyslogd", Path("/usr/sbin"))
    folder.mkdir()
    socket_path = folder / "log"
    settings = f"""
        global(workDirectory="{folder}" preserveFQDN="on")
        module(load="imuxsock" SysSock.Use="off")
        input(type="imuxsock" Socket="{socket_path}" RateLimit.Interval="0")
        {action}
        """
    (folder / "rsyslog.conf").write_text("\n".join(line.strip() for line in settings.splitlines()))
    command = [binary, "-n", "-f", folder / "rsyslog.conf", "-i", folder / "rsyslog.pid"]
    with Program(command, folder=folder, name="rsyslogd") as program:
        program.wait_for(socket_path.exists, what="rsyslog takes messages")
        yield socket_path


class Nginx:
    """A web server that writes an access log in the combined format; `also` are more lines of its configuration."""

    def __init__(self, binary: Path, folder: Path, also: str = "") -> None:
        self._folder = folder
        self._also = also
        self.access_log = folder / "access.log"
        self.port = free_port()
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "nginx.conf").write_text(self._configuration())
        self._program = Program(
            [binary, "-p", folder, "-e", folder / "error.log", "-c", folder / "nginx.conf"],
            folder=folder,
            name="nginx",
            stop_signal=signal.SIGQUIT,  # finishes the requests under way
        )

    @classmethod
    @contextmanager
    def installed(cls, folder: Path, also: str = "") -> Iterator[Nginx]:
        """A running server; skips or fails the test when nginx is not installed."""
        server = cls(find("nginx", "nginx", Path("/usr/sbin")), folder, also)
        with server._program as program:
            program.wait_for(lambda: is_listening(server.port), what="nginx takes connections")
            server.access_log.write_text("")  # forgets the probe: an empty file, and nginx appends
            yield server

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def rotate(self) -> Path:
        """Moves the access log away as logrotate does, and has nginx open a new one; returns where the old one is."""
        number = len(list(self._folder.glob("access.log.*"))) + 1
        old = self.access_log.rename(self._folder / f"access.log.{number}")
        self._program.send(signal.SIGUSR1)
        wait_until(self.access_log.exists, what="nginx opened a new access log")
        return old

    def _configuration(self) -> str:
        kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        temporary = "\n".join(f"  {kind}_temp_path {self._folder}/{kind};" for kind in kinds)
        user = "user root;" if os.geteuid() == 0 else ""
        return f"""{user}
daemon off;
worker_processes 1;
pid {self._folder}/nginx.pid;
events {{ worker_connections 256; }}
http {{
{temporary}
  access_log {self.access_log} combined;
  {self._also}
  keepalive_requests 1000000;
  server {{
    listen 127.0.0.1:{self.port};
    default_type text/plain;
    location / {{ return 200 "ok\\n"; }}
  }}
}}
"""


class Prometheus:
    """A metrics server that scrapes what it is told to, and takes remote writes."""

    def __init__(self, binary: Path, folder: Path, targets: Sequence[int]) -> None:
        self.port = free_port()
        folder.mkdir(parents=True, exist_ok=True)
        job = {"job_name": "test", "static_configs": [{"targets": [f"127.0.0.1:{port}" for port in targets]}]}
        config = {"global": {"scrape_interval": "200ms", "scrape_timeout": "200ms"}, "scrape_configs": [job]}
        (folder / "prometheus.yml").write_text(json.dumps(config))  # JSON is YAML
        self._folder = folder
        self._command = [
            binary,
            f"--config.file={folder}/prometheus.yml",
            f"--storage.tsdb.path={folder}/data",
            f"--web.listen-address=127.0.0.1:{self.port}",
            "--web.enable-remote-write-receiver",
        ]

    @classmethod
    def stopped(cls, folder: Path, *targets: int) -> Prometheus:
        """One that scrapes these ports when it runs; skips or fails the test when Prometheus is not installed."""
        return cls(find("prometheus", "prometheus", Path("/usr/bin")), folder, targets)

    @classmethod
    @contextmanager
    def installed(cls, folder: Path, *targets: int) -> Iterator[Prometheus]:
        """The same, running."""
        server = cls.stopped(folder, *targets)
        with server.running():
            yield server

    @contextmanager
    def running(self) -> Iterator[None]:
        """Runs until the block ends."""
        with Program(self._command, folder=self._folder, name="prometheus") as program:
            program.wait_for(lambda: self._answer("/-/ready"), what="Prometheus is ready")
            yield

    @property
    def log(self) -> str:
        return (self._folder / "prometheus.log").read_text(errors="replace")

    def query(self, expression: str) -> list[dict[str, Any]]:
        """What an expression gives now: each with its labels (`metric`) and its time and value (`value`)."""
        found = json.loads(self._answer(f"/api/v1/query?{urllib.parse.urlencode({'query': expression})}"))
        return found["data"]["result"]  # type: ignore[no-any-return]  # Prometheus's own shape

    def value(self, expression: str) -> float | None:
        """The value of the only series of an expression, or None while there is none."""
        found = self.query(expression)
        assert len(found) < 2, f"{expression} gives {found}"
        return float(found[0]["value"][1]) if found else None

    def metadata(self, metric: str) -> dict[str, str]:
        """Type, help and unit, as the scraped page has them; empty before the first scrape."""
        found = json.loads(self._answer(f"/api/v1/metadata?metric={metric}"))["data"].get(metric, [])
        return found[0] if found else {}

    def _answer(self, path: str) -> bytes:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=10) as answer:
                return answer.read()  # type: ignore[no-any-return]
        except OSError:
            return b""


def find(server: str, program: str, folder: Path, *, mode: int = os.F_OK | os.X_OK) -> Path:
    """The program, from the folder or PATH; skips the test when it is nowhere, or fails it where it is required.

    A `mode` of F_OK finds what is no program.
    """
    found = shutil.which(program, mode, path=str(folder)) or shutil.which(program, mode)
    if found is not None:
        return Path(found).resolve()
    advice = f"{server} is not installed: apt-get install {_PACKAGES[server]}"
    if server in os.environ.get("HEADRACE_REQUIRE", "").replace(" ", "").split(","):
        pytest.fail(advice, pytrace=False)
    pytest.skip(advice)


def free_port() -> int:
    """A port that nobody listens on, below those that the system hands out, so that it stays free over a restart.

    Only for servers that can't bind port 0 and say what they got; ours can.
    """
    for port in itertools.islice(_ports, _PORTS):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        return port
    raise AssertionError("no free port between 15000 and 32000")


@contextmanager
def _open_folder(name: str) -> Iterator[tuple[Path, str | None]]:
    """A folder right under /tmp for a server that refuses to run as root, and the user to run it as (None: as we are).

    pytest's own folders are closed to other users.
    """
    folder = Path(tempfile.mkdtemp(prefix=f"headrace-{name}-", dir="/tmp"))
    try:
        user = None
        if os.geteuid() == 0:
            user = "postgres" if any(entry.pw_name == "postgres" for entry in pwd.getpwall()) else "nobody"
            shutil.chown(folder, user)
        yield folder, user
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _newest(pattern: str) -> Path:
    """The folder with the highest version in its path."""
    root, _, rest = pattern.partition("*")
    found = [path for path in Path(root).glob(f"*{rest}") if path.parent.name.replace(".", "").isdigit()]
    return max(found, key=lambda path: float(path.parent.name), default=Path(root))


def is_listening(port: int) -> bool:
    """Whether somebody takes connections there; makes one and drops it."""
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0
