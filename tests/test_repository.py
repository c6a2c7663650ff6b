"""What the repository promises about itself: import rules that bite, pinned requirements, complete docs."""

from __future__ import annotations

import ast
import configparser
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())
EXTRAS: dict[str, list[str]] = PROJECT["project"]["optional-dependencies"]
REQUIREMENTS = sorted(ROOT.glob("requirements-*.txt"))

# One line that breaks each contract of .importlinter, and the module that gets it.
VIOLATIONS = {
    "sides": ("controlplane/model.py", "import agent.engine.registry"),
    "engine": ("agent/engine/record.py", "import headrace.types"),
    "plugins": ("agent/engine/outputs/null.py", "import agent.engine.inputs.dummy"),
    "config": ("headrace/config/model.py", "import headrace.types"),
    "wire": ("agent/errors.py", "import grpc"),
    "codec": ("headrace/session.py", "import headrace.v1.types_pb2"),
    "pure": ("headrace/selector.py", "import time"),
    "store": ("controlplane/rpc/planted.py", "import controlplane.state"),
    "drivers": ("controlplane/changes.py", "import sqlalchemy"),
    "metric-stores": ("controlplane/metrics/sqlite.py", "import controlplane.metrics.influxdb"),
    "http": ("controlplane/changes.py", "import httpx2"),
    "weight": ("headrace/client.py", "import pydantic"),
    "kubernetes": ("controlplane/changes.py", "import kubernetes"),
    "terminal": ("headrace/management.py", "import rich"),
}

# What says that it is pure, and takes a calendar function or another module's type from where the rule forbids it.
NEARLY_PURE = {
    "agent.attempts",
    "agent.engine.condition",
    "agent.engine.encode",
    "agent.engine.exposition",
    "agent.engine.schema",
    "agent.engine.service",
    "agent.engine.template",
    "agent.preparation",
    "agent.truths",
}

# What may be imported where only these are installed.
MODULES = {
    (): "headrace.client headrace.codec headrace.config headrace.management headrace.server headrace.session",
    ("agent",): "agent.cli agent.app agent.engine.engine",
    ("control",): "controlplane.app controlplane.__main__ headrace.server",
    ("cli",): "headrace.cli headrace.cli.app",
}
# The module of a distribution whose name differs.
NAMES = {"prometheus-client": "prometheus_client", "grpcio": "grpc", "pyyaml": "yaml"} | {
    f"grpcio-{part}": f"grpc_{module}" for part, module in (("health-checking", "health"), ("reflection", "reflection"))
}


def test_every_import_rule_bites(tmp_path: Path) -> None:
    for name in ("headrace", "agent", "controlplane"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / ".importlinter", tmp_path)
    for path, line in VIOLATIONS.values():
        with (tmp_path / path).open("a") as file:
            file.write(f"\n{line}\n")
    command = [str(Path(sys.executable).with_name("lint-imports")), "--no-logo", "--no-cache"]
    printed = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False).stdout
    assert f"Contracts: 0 kept, {len(VIOLATIONS)} broken." in printed, re.findall(r".*KEPT.*", printed)


def test_a_module_that_says_it_is_pure_is_held_to_it() -> None:
    rules = configparser.ConfigParser()
    rules.read(ROOT / ".importlinter")
    held = rules["importlinter:contract:pure"]["source_modules"].split()
    claims = {
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        for package in ("headrace", "agent", "controlplane")
        for path in (ROOT / package).rglob("*.py")
        if re.search(r"\bPure\b(?! but)|\A.*(\(pure|; pure)", ast.get_docstring(ast.parse(path.read_text())) or "")
    }
    free = {name for name in claims if not any(name == module or name.startswith(f"{module}.") for module in held)}
    assert free == NEARLY_PURE, "add them to the contract 'pure' in .importlinter"


@pytest.mark.parametrize("extras", MODULES, ids=lambda extras: "+".join(extras) or "base")
def test_a_program_needs_no_other_extra_than_its_own(extras: tuple[str, ...]) -> None:
    own = {package for extra in extras for package in _packages(EXTRAS[extra])}
    others = {package for listed in EXTRAS.values() for package in _packages(listed)} - own - {"headrace"}
    modules = sorted(NAMES.get(package, package) for package in others)
    # A module that is None in sys.modules cannot be imported, as if it were not installed.
    code = f"import sys; sys.modules.update(dict.fromkeys({modules!r})); import {', '.join(MODULES[extras].split())}"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("path", REQUIREMENTS, ids=lambda path: path.name)
def test_requirements_are_pinned_and_hashed_and_say_nothing_of_where_from(path: Path) -> None:
    text = path.read_text()
    assert "://" not in text
    assert "--index" not in text
    pins = re.split(r"\n(?=\S)(?!#)", re.sub(r"\s+#.*", "", text).strip())
    assert pins
    assert [pin for pin in pins if "==" not in pin or "--hash=sha256:" not in pin] == []


def test_requirements_hold_every_dependency() -> None:
    pinned = _packages(re.findall(r"^\S+==", (ROOT / "requirements-dev.txt").read_text(), re.MULTILINE))
    extras = _packages([item for extra in ("cli", "agent", "control", "postgres") for item in EXTRAS[extra]])
    groups = [item for group in PROJECT["dependency-groups"].values() for item in group if isinstance(item, str)]
    assert _packages(PROJECT["project"]["dependencies"]) | extras | _packages(groups) <= pinned


def test_the_docs_name_every_dependency() -> None:
    text = (ROOT / "docs/dependencies.md").read_text().lower()
    listed = _packages(PROJECT["project"]["dependencies"]) | {p for extra in EXTRAS.values() for p in _packages(extra)}
    assert sorted(package for package in listed - {"headrace"} if package not in text) == []


def test_links_between_documents_lead_somewhere() -> None:
    broken = []
    for document in [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("examples/**/*.md")]:
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", document.read_text()):
            if not (document.parent / target).exists():
                broken.append(f"{document.relative_to(ROOT)}: {target}")
    assert broken == []


def _packages(requirements: list[str]) -> set[str]:
    return {re.split(r"[\[<>=;! ]", requirement)[0].lower() for requirement in requirements}
