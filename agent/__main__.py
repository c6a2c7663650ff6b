"""`python -m agent` is `headrace-agent`, and keeps out what the agent never uses.

structlog imports rich wherever that is installed, for tracebacks in colour: 8 MB on a host that has the operators'
command as well.
"""

import sys

sys.modules["rich"] = None  # type: ignore[assignment]  # how Python is told that a module cannot be imported

from agent.cli import main  # noqa: E402

if __name__ == "__main__":
    sys.exit(main())
