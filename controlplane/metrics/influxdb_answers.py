"""What an InfluxDB's answers mean: its version, what it refused of a batch, and when to come again. Pure.

The three versions say it differently; here it becomes one thing each.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import Any

_REASONS = (
    ("field type conflict", "InfluxDB has this metric with values of another type"),
    ("retention policy", "InfluxDB keeps nothing so old"),
    ("max-values-per-tag", "InfluxDB's limit of values per tag (max-values-per-tag)"),
    ("max-series", "InfluxDB's limit of series (max-series-per-database)"),
)
_OTHER = "refused by InfluxDB"
LONGEST_WAIT_S = 300.0


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a batch was not taken whole; `lines` are the numbers of the bad ones, from 1, where the server names them."""

    reason: str
    message: str
    lines: tuple[int, ...] = ()


def api_of(headers: Mapping[str, str]) -> int:
    """The API level of the server that answered a ping so; 1 for one that does not say."""
    version = headers.get("x-influxdb-version", "")
    match = re.match(r"v?(\d+)\.", version)
    return min(max(int(match[1]), 1), 3) if match else 1


def message_of(body: bytes) -> str:
    """What the server says is wrong, in a few words."""
    document = _document(body)
    for key in ("error", "message"):
        if isinstance(document, dict) and isinstance(document.get(key), str):
            return _short(document[key])
    return _short(body.decode(errors="replace"))


def refusal_of(body: bytes) -> Refusal:
    """Why a batch was refused, wholly or in part."""
    message = message_of(body)
    reason = next((words for part, words in _REASONS if part in message), _OTHER)
    document = _document(body)
    listed = document.get("data") if isinstance(document, dict) else None
    numbers = [item.get("line_number") for item in listed if isinstance(item, dict)] if isinstance(listed, list) else []
    return Refusal(reason, message, tuple(number for number in numbers if isinstance(number, int)))


def retry_after_s(header: str, *, now: datetime) -> float:
    """How long the server wishes to be left alone; 0 when it does not say."""
    text = header.strip()
    if text.isascii() and text.isdigit():
        return min(float(text), LONGEST_WAIT_S)
    try:
        at = parsedate_to_datetime(text)
        return min(max(0.0, (at - now).total_seconds()), LONGEST_WAIT_S)
    except (TypeError, ValueError):
        return 0.0


def _document(body: bytes) -> Any:
    try:
        return json.loads(body)
    except ValueError:
        return None


def _short(text: str) -> str:
    words = " ".join(text.split())
    return words if len(words) <= 300 else f"{words[:300]}…"
