"""The engine's version, and the version of Fluent Bit whose behaviour and interfaces it follows."""

from importlib.metadata import PackageNotFoundError, version

FOLLOWS = "5.1.1"


def engine_version() -> str:
    """The version of the installed distribution; `0+source` when run from a source tree that is not installed."""
    try:
        return version("headrace")
    except PackageNotFoundError:
        return "0+source"
