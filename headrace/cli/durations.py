"""Durations as people write them: `90`, `90s`, `5m`, `2h`, `7d`, `1h30m`. Pure."""

import re

import typer

_UNITS = {"": 1, "ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400}
_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d|)")


def seconds(text: str, option: str) -> float:
    """How long that is; a usage error that names the option when it is not a duration."""
    parts = _PART.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise typer.BadParameter(f"{text!r} is not a duration; write 90s, 5m or 1h30m", param_hint=f"'{option}'")
    return float(sum(float(number) * _UNITS[unit] for number, unit in parts))
