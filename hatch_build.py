"""Build hook: generates `headrace/v1` from `proto/` with grpcio-tools, for wheels and editable installs alike.

Run as a script (`python hatch_build.py`) it only regenerates, which is what `make proto` does.
"""

from __future__ import annotations

import os
import shutil
import sys
import sysconfig
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent


def generate(root: Path = ROOT) -> list[str]:
    """Writes messages, stubs and their types for every proto file; returns the files that it read."""
    from grpc_tools import _proto, protoc  # part of the build requirements, not of the package's

    target = root / "headrace" / "v1"
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    sources = sorted(str(path.relative_to(root)) for path in (root / "proto").rglob("*.proto"))
    outputs = [f"--{kind}={root}" for kind in ("python_out", "grpc_python_out")]
    outputs += [f"--{kind}=quiet:{root}" for kind in ("mypy_out", "mypy_grpc_out")]
    well_known = Path(next(iter(_proto.__path__)))
    # protoc finds its plugins on PATH; a virtual environment that is not activated has them beside its interpreter.
    os.environ["PATH"] = os.pathsep.join([sysconfig.get_path("scripts"), os.environ.get("PATH", "")])
    includes = [f"-I{root / 'proto'}", f"-I{well_known}"]
    status = protoc.main(["protoc", *includes, *outputs, *(str(root / source) for source in sources)])
    if status != 0:
        raise RuntimeError(f"protoc failed with status {status}; see its messages above")
    (target / "__init__.py").write_text('"""Generated from proto/ by the build hook; never edited."""\n')
    return sources


try:
    from hatchling.builders.hooks.plugin.interface import BuildHookInterface
except ImportError:  # running as a script without hatchling
    pass
else:

    class GenerateProtocol(BuildHookInterface[Any]):
        """Regenerates the wire code before every build."""

        PLUGIN_NAME = "custom"

        def initialize(self, version: str, build_data: dict[str, Any]) -> None:
            generate(Path(self.root))


if __name__ == "__main__":
    print(f"headrace/v1 from {', '.join(generate())}", file=sys.stderr)
