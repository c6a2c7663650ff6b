"""What a set of labels may be, whoever gives it: an agent, a token, an operator, or a manifest. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from headrace.errors import InvalidError, LimitError
from headrace.names import validate_label_key, validate_label_value

_MOST = 64


def check_labels(labels: Mapping[str, str], what: str) -> None:
    """Raises InvalidError, naming whose labels they are."""
    if len(labels) > _MOST:
        raise LimitError(f"{what}: {len(labels)} labels, the limit is {_MOST}")
    for key, value in labels.items():
        try:
            validate_label_key(key)
            validate_label_value(value)
        except InvalidError as error:
            raise InvalidError(f"{what}: {error.message}") from None
