"""`python -m agent` is `headrace-agent`."""

import sys

from agent.cli import main

sys.exit(main())
