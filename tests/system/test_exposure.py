"""What others can see of a running system: the ports that it listens on, and where each of its secrets is."""

from __future__ import annotations

import base64
import json
import os
import socket
import struct
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest

from headrace import local
from tests.certificates import key_of, make_certificate
from tests.processes import Program
from tests.recorder import Recorder
from tests.system.cli import Cli
from tests.system.plane import Plane

pytestmark = [pytest.mark.system, pytest.mark.soak, pytest.mark.timeout(240)]

CONFIG = """
service: {flush: 0.2}
pipeline:
  inputs: [{name: dummy, tag: t, rate: 5}]
  outputs: [{name: file, match: '*', path: FOLDER, file: out.log}]
  filters:
    - name: modify
      match: '*'
      set: greeting hello
"""
SECRET = "s3cr3t-kingfisher-47"


def listeners(pid: int) -> set[str]:
    """host:port of every TCP socket that listens in the network that a process sees."""
    found = set()
    for name, family in (("tcp", socket.AF_INET), ("tcp6", socket.AF_INET6)):
        for line in Path(f"/proc/{pid}/net/{name}").read_text().splitlines()[1:]:
            local_address, state = line.split()[1], line.split()[3]
            if state != "0A":
                continue
            address, _, port = local_address.partition(":")
            words = [struct.pack("=I", int(address[at : at + 8], 16)) for at in range(0, len(address), 8)]
            host = socket.inet_ntop(family, b"".join(words)).removeprefix("::ffff:")  # as grpc binds IPv4
            found.add(f"{host}:{int(port, 16)}")
    return found


def test_a_default_up_listens_on_loopback_and_nowhere_else(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("a network of its own, in which the default ports are free, takes root")
    # All that is in this network is ours, so that whatever listens is seen, whoever started it.
    program = (
        "import ctypes, fcntl, os, socket, struct, sys\n"
        "assert ctypes.CDLL(None, use_errno=True).unshare(0x40000000) == 0, os.strerror(ctypes.get_errno())\n"
        "fcntl.ioctl(socket.socket(), 0x8914, struct.pack('16sH14s', b'lo', 0x49, b''))\n"  # the loopback interface, up
        "os.execv(sys.executable, [sys.executable, '-P', '-m', 'headrace.cli', 'up'])\n"
    )
    environment = {**Cli(tmp_path).environment, "HEADRACE_DATA_DIR": str(tmp_path / "data")}
    with Program([sys.executable, "-c", program], folder=tmp_path, name="up", env=environment) as up:
        defaults = {f"127.0.0.1:{port}" for port in (8400, 8401, 8402)}
        up.wait_for(lambda: defaults <= listeners(up.pid), timeout=60, what="up listens")
        up.wait_for(lambda: listeners(up.pid) > defaults, timeout=60, what="the demo's engine serves its numbers")
        hosts = {each.rpartition(":")[0] for each in listeners(up.pid)}
        assert hosts == {"127.0.0.1"}


def forms(value: str) -> list[bytes]:
    """A value as it may be written: as it is, in base64 at each of its alignments, in hexadecimal, and reversed."""
    data = value.encode()
    shifted = [base64.b64encode(bytes(shift) + data)[4:-4] for shift in range(3)]
    return [data, *shifted, data.hex().encode(), data[::-1]]


def holders(value: str, places: Iterable[tuple[str, bytes]]) -> list[str]:
    return sorted({name for name, data in places if any(form in data for form in forms(value))})


def files(*folders: Path) -> Iterable[tuple[str, bytes]]:
    for path in (path for folder in folders for path in folder.rglob("*")):
        if path.is_file() and not path.is_symlink():
            yield f"{path}", path.read_bytes()


def arguments() -> Iterable[tuple[str, bytes]]:
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            yield f"arguments of {path.parent.name}", path.read_bytes()
        except OSError:
            continue


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
def test_each_secret_is_where_it_belongs_and_nowhere_else(tmp_path: Path, tls: bool) -> None:
    certificate = make_certificate(tmp_path, "server")
    more = ("--tls-cert", str(certificate), "--tls-key", str(key_of(certificate))) if tls else ()
    trusting = ("--tls-ca", str(certificate)) if tls else ()
    said: list[tuple[str, bytes]] = []
    with Plane(tmp_path / "plane", *more) as plane:

        def cli(*words: object, stdin: str | None = None, who: Cli = plane.cli) -> str:
            ended = who.run(*trusting, *words, stdin=stdin)
            assert ended.returncode == 0, ended.stderr
            return ended.stdout + ended.stderr

        user = cli("user", "create", "ann", "--role", "deploy").split()[0]
        token = cli("token", "create", "--label", "role=edge").split()[0]
        cli("secret", "set", "api-token", stdin=SECRET)
        folder = tmp_path / "a-1"
        folder.mkdir()
        (folder / "token").write_text(token)
        config = CONFIG.replace("FOLDER", str(folder)).replace("hello", "${API_TOKEN}")
        manifest = plane.manifest("birds", config, secrets={"API_TOKEN": "api-token"})
        with Recorder(plane.channel).recording() as channel, Recorder(plane.grpc).recording() as management:
            ann = Cli(tmp_path / "ann", management.address, user)
            ann.home.mkdir()
            token_file, data = folder / "token", folder / "data"
            where = ["--server", channel.address, "--token-file", token_file, "--data-dir", data]
            command = [
                sys.executable,
                "-P",
                "-m",
                "agent",
                "run",
                *where,
                "--name",
                "a-1",
                "--settle",
                "0.5",
                *trusting,
            ]
            for _ in range(2):  # enrols, and comes back as who it is
                with Program(command, folder=folder, name="agent", env={"HOME": str(folder)}) as agent:
                    cli("apply", "-f", manifest, "--wait", "--timeout", "110s")
                    agent.wait_for(lambda: (folder / "out.log").exists(), what="records")
                    for words in (
                        ("get", "agents", "-o", "json"),
                        ("describe", "pipeline", "birds"),
                        ("describe", "agent", "a-1"),
                        ("logs", "birds", "--agent", "a-1"),
                        ("events", "--export"),
                        ("token", "list", "-o", "json"),
                        ("secret", "list", "-o", "json"),
                        ("user", "list", "-o", "json"),
                    ):
                        as_ann = words[0] not in ("user",)
                        said.append((" ".join(words), cli(*words, who=ann if as_ann else plane.cli).encode()))
                    seen = list(arguments())
        port = int(plane.grpc.rpartition(":")[2])
        admin = local.token_file(port, environment={"HOME": str(plane.home)})
        identity = folder / "data/identity.json"
        credential = json.loads(identity.read_text())["value"]["credential"]
        key = "".join((folder / "data/agent.key").read_text().splitlines()[1:-1])
        written = [*files(plane.folder, folder, tmp_path / "ann"), *said, *seen]
        assert len(said) == 16
        belongs = {
            token: [str(folder / "token")],
            credential: [str(identity)],
            user: [],
            admin.read_text().strip(): [str(admin)],
            SECRET: [str(folder / "out.log")],  # the pipeline itself writes it there
            key: [],
        }
        for value, places in belongs.items():
            assert len(value) > 12
            assert holders(value.rpartition(".")[2], written) == places, f"{value[:6]}…"
        assert "BEGIN" in (folder / "data/agent.key").read_text()
    wire = [(str(number), data) for number, data in enumerate([*channel.streams, *management.streams])]
    assert sum(len(data) for _, data in wire) > 10_000
    names = ("token", "credential", "user", "admin", "secret", "key")
    on_the_wire = {name: holders(value.rpartition(".")[2], wire) for name, value in zip(names, belongs, strict=True)}
    print(f"seen on {'TLS' if tls else 'plain text'}:", {name: len(found) for name, found in on_the_wire.items()})
    if tls:
        assert not any(on_the_wire.values())
    else:  # which shows that they would be found
        assert not on_the_wire["admin"] + on_the_wire["key"]
        assert len(on_the_wire["token"]) == 1  # said once, and never again by an agent that has enrolled
        assert on_the_wire["secret"]
