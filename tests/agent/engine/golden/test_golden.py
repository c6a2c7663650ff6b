"""Every case that the real Fluent Bit ran, on the embedded engine: the same lines in the same files.

A line of JSON is compared as JSON (the order of keys is free), also behind a `tag: [time, ` prefix; all else as text.
"""

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.agent.engine.conftest import REPOSITORY
from tests.processes import Program

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


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_the_embedded_engine_writes_what_fluent_bit_wrote(case: Path, tmp_path: Path) -> None:
    folder = tmp_path / "case"
    shutil.copytree(case, folder)
    (folder / "out").mkdir()
    expected = {
        name: [comparable(line) for line in lines]
        for name, lines in json.loads((case / "expected.json").read_text()).items()
    }
    config = json.loads((case / "case.json").read_text())["config"]
    count = sum(map(len, expected.values()))
    command = ["-P", "-m", "agent.engine", "-q", "-c", config]
    with Program(
        [sys.executable, *command], folder=folder, name="engine", env={"PYTHONPATH": str(REPOSITORY)}
    ) as engine:
        engine.wait_for(
            lambda: sum(map(len, written(folder, engine.output).values())) >= count,
            what=f"{count} lines; so far {written(folder, engine.output)}",
        )
        assert engine.stop() == 0  # which also delivers what should not be there
    assert written(folder, engine.output) == expected
