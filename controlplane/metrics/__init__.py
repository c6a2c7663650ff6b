"""Where metrics are kept: stores by the scheme of their URL; `none` is a choice, and no store.

`sqlite` is a file of its own in the data folder, `influxdb://` a server; their modules tell the rest of the URL.
Only the store that is asked for is imported.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from pathlib import Path

from controlplane.metrics.store import MetricStore
from headrace.errors import InvalidError

NONE = "none"
DEFAULT = "sqlite"
STORES = {
    "sqlite": "controlplane.metrics.sqlite:store",
    "influxdb": "controlplane.metrics.influxdb:store",
    "influxdbs": "controlplane.metrics.influxdb:store",
}

__all__ = ["DEFAULT", "NONE", "STORES", "MetricStore", "open_metric_store"]


def open_metric_store(url: str, *, data_dir: Path) -> MetricStore | None:
    """The store of `--metrics`, yet to be opened; None for `none`. Raises InvalidError for what is not understood."""
    if url == NONE:
        return None
    scheme = url.partition("://")[0].partition("?")[0]
    if scheme not in STORES:
        raise InvalidError(
            f"a metric store of the kind {scheme!r} is not known; there are {', '.join((NONE, *STORES))}"
        )
    module, _, factory = STORES[scheme].partition(":")
    make: Callable[..., MetricStore] = getattr(import_module(module), factory)
    return make(url, data_dir=data_dir)
