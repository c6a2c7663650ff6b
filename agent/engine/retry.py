"""When to try a failed chunk again: Fluent Bit's schedule and limits (pure).

The wait before the n-th retry is drawn evenly from base … min(cap, base * 2^n) seconds, plus one. An output gives a
chunk up after `retry_limit` retries: a number, `no_limits` (also `false`, `off`) or `no_retries`.
"""

from dataclasses import dataclass
from random import Random

UNLIMITED = -1
MAX_DOUBLINGS = 20


@dataclass(frozen=True, slots=True)
class RetrySchedule:
    """`base` and `cap` in seconds: the service keys `scheduler.base` and `scheduler.cap`."""

    base: int = 5
    cap: int = 2000

    def delay(self, retry: int, rng: Random) -> int:
        """Seconds to wait before the retry of that number, counting from 1."""
        longest = min(self.cap, self.base * 2 ** min(retry, MAX_DOUBLINGS))
        return rng.randint(min(self.base, longest), longest) + 1


def parse_retry_limit(text: str) -> int:
    """The number of retries, or UNLIMITED. Raises ValueError with the accepted forms."""
    word = text.strip().lower()
    if word in ("no_limits", "false", "off"):
        return UNLIMITED
    if word == "no_retries":
        return 0
    if word.isascii() and word.isdigit() and int(word) > 0:
        return int(word)
    raise ValueError(f"{text!r} is not a number from 1 on, 'no_limits' or 'no_retries'")


def may_retry(retries: int, limit: int) -> bool:
    """Whether a chunk that was tried again `retries` times already may be tried once more."""
    return limit == UNLIMITED or retries < limit
