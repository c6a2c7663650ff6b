"""What names and labels may look like: Kubernetes' own rules, so that what is valid here is valid there.

Each check returns what it was given, or raises InvalidError that says which rule was broken and, where there is one,
the nearest name that would do.
"""

import re

from headrace.errors import InvalidError

MAX_LABEL = 63
MAX_PREFIX = 253

_DNS_LABEL = re.compile(r"[a-z0-9](?:[-a-z0-9]*[a-z0-9])?")
_DNS_SUBDOMAIN = re.compile(rf"{_DNS_LABEL.pattern}(?:\.{_DNS_LABEL.pattern})*")
_LABEL = re.compile(r"[A-Za-z0-9](?:[-A-Za-z0-9_.]*[A-Za-z0-9])?")
_LABEL_RULE = f"1-{MAX_LABEL} letters, digits, '-', '_' or '.', beginning and ending with a letter or digit"


def validate_name(name: str, what: str = "name") -> str:
    """A DNS label, as for a pipeline: at most 63 lower-case letters, digits and '-', no '-' at an end."""
    if len(name) <= MAX_LABEL and _DNS_LABEL.fullmatch(name):
        return name
    near = re.sub("[^a-z0-9]+", "-", name.lower()[: 2 * MAX_LABEL]).strip("-")[:MAX_LABEL].rstrip("-")
    hint = f"; did you mean {near!r}?" if near else ""
    rule = f"1-{MAX_LABEL} lower-case letters, digits or '-', beginning and ending with a letter or digit"
    raise InvalidError(f"{what} {_short(name)} must be {rule}{hint}")


def validate_label_key(key: str) -> str:
    """A label's key: a name, with a DNS subdomain and '/' before it or not."""
    prefix, slash, name = key.rpartition("/")
    if slash and (len(prefix) > MAX_PREFIX or not _DNS_SUBDOMAIN.fullmatch(prefix)):
        rule = f"a lower-case DNS name of at most {MAX_PREFIX} characters"
        raise InvalidError(f"label key {_short(key)}: what stands before '/' must be {rule}")
    if len(name) > MAX_LABEL or not _LABEL.fullmatch(name):
        raise InvalidError(f"label key {_short(key)}: {'the part after / ' if slash else ''}must be {_LABEL_RULE}")
    return key


def validate_label_value(value: str) -> str:
    """A label's value: empty, or by the same rule as the name in a key."""
    if value and (len(value) > MAX_LABEL or not _LABEL.fullmatch(value)):
        raise InvalidError(f"label value {_short(value)} must be empty, or {_LABEL_RULE}")
    return value


def _short(text: str) -> str:
    return repr(text) if len(text) <= 2 * MAX_LABEL else f"{text[: 2 * MAX_LABEL]!r}… ({len(text)} characters)"
