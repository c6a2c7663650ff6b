"""`python -m headrace.cli.leash PARENT MODULE ARGUMENT…`: a module as `python -m` runs it, that ends with its parent.

The kernel sends it TERM when the process PARENT dies, however that dies (Linux; elsewhere it just runs). This is done
here, and not between fork and exec, where no Python may run beside the threads of gRPC.
"""

from __future__ import annotations

import ctypes
import os
import runpy
import signal
import sys

_PR_SET_PDEATHSIG = 1


def main() -> None:
    """Does not return while the module runs."""
    parent, module, *arguments = sys.argv[1:]
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != int(parent):
            sys.exit("the parent died before this began")
    sys.argv[1:] = arguments
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
