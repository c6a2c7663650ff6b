"""How a command ends: the one table from error codes to exit codes, and what is said on stderr.

Pure but for `complain`, which writes. Scripts rely on these numbers; docs and `headrace --help` name them.
"""

import sys
from collections.abc import Mapping
from enum import IntEnum

from headrace.errors import HeadraceError
from headrace.types import Severity


class Exit(IntEnum):
    """`diff` has its own reading of the first three, as diff(1): 0 same, 1 different, 2 trouble."""

    DONE = 0
    REFUSED = 1
    USAGE = 2
    NOT_FOUND = 3
    UNREACHABLE = 4
    TIMED_OUT = 5
    SOME_FAILED = 6
    INTERRUPTED = 130


EXIT_BY_CODE: Mapping[str, Exit] = {
    "internal": Exit.REFUSED,
    "invalid": Exit.REFUSED,
    "limit": Exit.REFUSED,
    "not_found": Exit.NOT_FOUND,
    "conflict": Exit.REFUSED,
    "confirm": Exit.REFUSED,
    "unauthenticated": Exit.REFUSED,
    "forbidden": Exit.REFUSED,
    "overloaded": Exit.UNREACHABLE,
    "unavailable": Exit.UNREACHABLE,
    "deadline": Exit.TIMED_OUT,
    "protocol": Exit.REFUSED,
}


def exit_of(error: HeadraceError) -> Exit:
    """The exit code of a command that this error ended."""
    return EXIT_BY_CODE.get(error.code, Exit.REFUSED)


def complain(error: HeadraceError) -> None:
    """Say on stderr what went wrong: the message, then each finding in a line of its own."""
    message = error.message
    if error.faults:
        # A message may quote its first finding for those who see nothing else.
        message = message.partition(f": {error.faults[0]}")[0]
    lines = [f"error: {message}"]
    lines.extend(f"  {'warning: ' if f.severity is Severity.WARNING else ''}{f}" for f in error.faults)
    say("\n".join(lines))


def say(message: str) -> None:
    """A message for people: stderr, so that stdout stays data."""
    print(printable(message), file=sys.stderr, flush=True)


def printable(text: str) -> str:
    """The text without what would steer a terminal: it may come from an agent, a log or a label."""
    return "".join(c if c in "\n\t" or c.isprintable() else c.encode("unicode_escape").decode() for c in text)
