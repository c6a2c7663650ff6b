"""How the command starts: light, and in words when it cannot."""

from __future__ import annotations

import subprocess
import sys


def python(script: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)


def test_a_missing_extra_is_named() -> None:
    ended = python(
        "import sys; sys.modules['typer'] = None\nfrom headrace.cli import main\nsys.exit(main(['get', 'agents']))"
    )
    assert ended.returncode == 1
    assert ended.stderr == (
        "headrace: the command line needs typer, which is not installed; "
        "install the extra: pip install 'headrace[cli]'\n"
    )


def test_help_and_completion_import_nothing_heavy() -> None:
    heavy = {"grpc", "google.protobuf", "yaml", "rich", "sqlalchemy", "headrace.api", "headrace.management"}
    ended = python(f"import sys\nimport headrace.cli.app\nprint(sorted({heavy!r} & set(sys.modules)))")
    assert ended.stdout == "[]\n"


def test_the_module_is_the_command() -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "headrace.cli", "version"], capture_output=True, text=True, check=False
    )
    assert (ended.returncode, ended.stdout.split()[0]) == (0, "headrace")
