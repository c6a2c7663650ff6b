"""What a secret's value must be: text that an environment variable can hold, and that can be masked. Pure.

The messages tell of a value's size and kind, and never show any of it.
"""

from __future__ import annotations

from headrace.errors import InvalidError, LimitError
from headrace.masking import SHORTEST

LONGEST = 32 << 10


def check_value(name: str, value: bytes) -> None:
    """Raises InvalidError, LimitError."""
    if len(value) > LONGEST:
        raise LimitError(f"secret {name!r}: its value has {len(value)} bytes, the limit is {LONGEST}")
    try:
        text = value.decode()
    except UnicodeDecodeError:
        raise InvalidError(f"secret {name!r}: its value is not UTF-8 text; encode it, in base64 say") from None
    if "\0" in text:
        raise InvalidError(f"secret {name!r}: its value has a NUL character, which no environment variable can hold")
    if len(text) < SHORTEST:
        raise InvalidError(
            f"secret {name!r}: its value has {len(text)} characters; so short a one, of fewer than {SHORTEST}, "
            "cannot be kept out of logs"
        )
