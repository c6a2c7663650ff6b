"""The operators' command `headrace`: a client of the management API, and the starter of the two programs.

`main` is the console script. Nothing heavy is imported before a command needs it: gRPC only to talk, Rich only to draw
on a terminal.
"""

import sys
from collections.abc import Sequence


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; the exit code is as `headrace.cli.exits` says."""
    try:
        from headrace.cli.app import run
    except ModuleNotFoundError as error:
        if error.name not in {"typer", "rich"}:
            raise
        print(
            f"headrace: the command line needs {error.name}, which is not installed; "
            "install the extra: pip install 'headrace[cli]'",
            file=sys.stderr,
        )
        return 1
    return run(sys.argv[1:] if argv is None else argv)
