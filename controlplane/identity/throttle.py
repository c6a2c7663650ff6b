"""How often one source may fail in a minute, to enrol or to show who it is, so that a flood costs little. Pure.

A source is an address, or an IPv6 network of 64 bits, which is what one host has at its disposal. Sources are counted
apart, the busiest are remembered, and no more of them than memory should hold. What is over the limit is a matter of
this process alone.
"""

from __future__ import annotations

import ipaddress
from collections import OrderedDict
from dataclasses import dataclass
from datetime import datetime, timedelta

FAILURES = 10
"""Of one source in a minute, before it is told to wait."""
_MINUTE = timedelta(minutes=1)
_MOST_SOURCES = 4096


@dataclass(slots=True)
class _Count:
    since: datetime
    failures: int = 0


class Throttle:
    """Failures by source; not thread-safe."""

    def __init__(self) -> None:
        self._counts: OrderedDict[str, _Count] = OrderedDict()

    def failed(self, source: str, now: datetime) -> int:
        """Counts a failure; how many this makes in the source's minute."""
        key = _key(source)
        count = self._counts.get(key)
        if count is None or now - count.since >= _MINUTE:
            count = self._counts[key] = _Count(now)
        self._counts.move_to_end(key)
        if len(self._counts) > _MOST_SOURCES:
            self._counts.popitem(last=False)
        count.failures += 1
        return count.failures

    def wait(self, source: str, now: datetime) -> float:
        """For how many seconds the source has had its failures; 0 when it may fail again."""
        count = self._counts.get(_key(source))
        if count is None or count.failures < FAILURES:
            return 0.0
        return max(0.0, (count.since + _MINUTE - now).total_seconds())


def _key(source: str) -> str:
    try:
        address = ipaddress.ip_address(source)
    except ValueError:
        return source
    if isinstance(address, ipaddress.IPv6Address):
        return str(ipaddress.ip_network((int(address) >> 64 << 64, 64)))
    return str(address)
