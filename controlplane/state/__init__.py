"""Where the state is kept: stores by the scheme of their URL.

`sqlite:///PATH` is a file in a folder of its own, for one process. `postgresql://USER:PASSWORD@HOST/DATABASE` is a
database that several control planes may share; see `controlplane.state.postgres` for its parameters. Only the store
that is asked for is imported.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any

from controlplane.state.store import Reader, Store, Transaction
from headrace.errors import InvalidError

STORES = {
    "sqlite": "controlplane.state.sqlite:store",
    "postgresql": "controlplane.state.postgres:store",
    "postgres": "controlplane.state.postgres:store",
}
EXTRAS = {"postgresql": "postgres", "postgres": "postgres", "sqlite": "control"}

__all__ = ["STORES", "Reader", "Store", "Transaction", "open_store"]


def open_store(url: str, **options: Any) -> Store:
    """The store at this URL, yet to be opened by `await store.open()`.

    `options` are what `controlplane.state.sql.SqlStore` takes beside a database: `now` and `new_instance_id`. Raises
    InvalidError for a URL that is not understood, and when the packages of its scheme are not installed.
    """
    scheme = url.partition("://")[0]
    if "://" not in url or scheme not in STORES:
        kinds = ", ".join(f"{name}://" for name in STORES if name != "postgres")
        raise InvalidError(f"a store of the kind {scheme!r} is not known; there are {kinds}")
    module, _, factory = STORES[scheme].partition(":")
    try:
        make: Callable[..., Store] = getattr(import_module(module), factory)
    except ModuleNotFoundError as error:
        raise InvalidError(
            f"{scheme} stores need the package {error.name!r}: pip install 'headrace[{EXTRAS[scheme]}]'"
        ) from error
    return make(url, **options)
