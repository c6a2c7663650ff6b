"""Every case that the real Fluent Bit ran, on the embedded engine: the same lines in the same files.

A line of JSON is compared as JSON (the order of keys is free), also behind a `tag: [time, ` prefix; all else as text.

A case may `send` to what its configuration listens on (`${PORT}`, or a socket in its folder): each step is one
connection, or one socket for datagrams, and what goes through it piece by piece. `hex:…` is binary.
"""

import json
import shutil
import socket
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.agent.engine.conftest import REPOSITORY
from tests.processes import Program, wait_until
from tests.servers import free_port

CASES = sorted(path.parent for path in (Path(__file__).parent / "cases").glob("*/expected.json"))


def comparable(line: str) -> Any:
    try:
        return json.loads(line)
    except ValueError:
        pass
    head, brace, rest = line.partition("{")
    if brace and not line.startswith("["):
        body = brace + rest
        for end in (len(body), len(body) - 1, len(body) - 2):
            try:
                return head, json.loads(body[:end]), body[end:]
            except ValueError:
                continue
    return line


def written(folder: Path, stdout: str) -> dict[str, list[Any]]:
    files = sorted(path for path in (folder / "out").rglob("*") if path.is_file())
    found = {path.name: [comparable(line) for line in path.read_text().splitlines()] for path in files}
    lines = [line for line in stdout.splitlines() if line.startswith(("{", "[", "]")) and not line.startswith("[20")]
    return {**found, "stdout": [comparable(line) for line in lines]} if lines else found


def send(step: dict[str, Any], port: int, folder: Path) -> None:
    """One step of a case; waits until somebody listens."""
    ((kind, pieces),) = step.items()
    stream = kind in ("tcp", "unix_tcp")
    where: Any = str(folder / "socket") if kind.startswith("unix") else ("127.0.0.1", port)
    family = socket.AF_UNIX if kind.startswith("unix") else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM if stream else socket.SOCK_DGRAM) as client:

        def is_heard() -> bool:
            try:
                client.connect(where)
                for _ in range(0 if stream else 2):
                    client.send(b"")  # refused by now where nobody listens
            except OSError:
                return False
            return True

        wait_until(is_heard, what=f"the engine listens on {where}")
        for piece in pieces:
            client.sendall(bytes.fromhex(piece[4:]) if piece.startswith("hex:") else piece.encode())
        if stream:
            client.shutdown(socket.SHUT_WR)
            client.settimeout(10)
            while client.recv(65536):  # until the engine has read to the end
                pass


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_the_embedded_engine_writes_what_fluent_bit_wrote(case: Path, tmp_path: Path) -> None:
    folder = tmp_path / "case"
    shutil.copytree(case, folder)
    (folder / "out").mkdir()
    expected = {
        name: [comparable(line) for line in lines]
        for name, lines in json.loads((case / "expected.json").read_text()).items()
    }
    about = json.loads((case / "case.json").read_text())
    port = free_port()
    count = sum(map(len, expected.values()))
    command = ["-P", "-m", "agent.engine", "-q", "-c", about["config"]]
    environment = {"PYTHONPATH": str(REPOSITORY), "PORT": str(port)}
    with Program([sys.executable, *command], folder=folder, name="engine", env=environment) as engine:
        for step in about.get("send", ()):
            send(step, port, folder)
        engine.wait_for(
            lambda: sum(map(len, written(folder, engine.output).values())) >= count,
            what=f"{count} lines; so far {written(folder, engine.output)}",
        )
        assert engine.stop() == 0  # which also delivers what should not be there
    assert written(folder, engine.output) == expected
