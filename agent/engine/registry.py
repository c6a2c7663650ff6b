"""Which plugins there are: one registry per kind, filled by the plugin modules themselves.

    @inputs.register("dummy", DummyConfig)
    class Dummy: …

`discover` imports every module of the plugin folders, so adding a plugin is adding a file. A registry is a plain value:
tests and embedders may build their own.
"""

import importlib
import pkgutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from agent.engine.plugin import Filter, Input, Output
from agent.engine.record import Signal
from headrace.config import did_you_mean

Plugin = TypeVar("Plugin")
Made = TypeVar("Made")

PACKAGES = ("agent.engine.inputs", "agent.engine.filters", "agent.engine.outputs", "agent.engine.processors")


@dataclass(frozen=True, slots=True)
class Registration(Generic[Plugin]):
    """One plugin: its Config class, how to make an instance, Fluent Bit's properties that it refuses by name.

    `signals` are what an output or a processor takes; a filter takes logs.
    """

    name: str
    config: type
    make: Callable[[Any, Any], Plugin]
    description: str
    refused: frozenset[str]
    signals: frozenset[Signal]


class Registry(Generic[Plugin]):
    """The plugins of one kind by name."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._plugins: dict[str, Registration[Plugin]] = {}

    def register(
        self, name: str, config: type, *, refused: tuple[str, ...] = (), signals: tuple[Signal, ...] = ("logs",)
    ) -> Callable[[Callable[[Any, Any], Made]], Callable[[Any, Any], Made]]:
        """Decorator of a plugin class whose constructor takes (config, context). A name taken twice is a ValueError."""

        def add(make: Callable[[Any, Any], Made]) -> Callable[[Any, Any], Made]:
            if name in self._plugins:
                raise ValueError(f"{self.kind} {name!r} is registered twice")
            description = (make.__doc__ or "").strip().partition("\n")[0]
            plugin: Any = make  # the contract tests check that it is one
            self._plugins[name] = Registration(
                name, config, plugin, description, frozenset(refused), frozenset(signals)
            )
            return make

        return add

    def find(self, name: str) -> Registration[Plugin]:
        """The plugin of that name. Raises LookupError with a suggestion."""
        found = self._plugins.get(name.lower())
        if found is None:
            hint = did_you_mean(name, self._plugins) or f"; there are {', '.join(sorted(self._plugins))}"
            raise LookupError(f"{self.kind} {name!r} is not known to the embedded engine{hint}")
        return found

    def __contains__(self, name: str) -> bool:
        return name in self._plugins

    def __iter__(self) -> Iterator[Registration[Plugin]]:
        return iter(sorted(self._plugins.values(), key=lambda plugin: plugin.name))


inputs: Registry[Input] = Registry("input")
filters: Registry[Filter] = Registry("filter")
outputs: Registry[Output] = Registry("output")
processors: Registry[Filter] = Registry("processor")


def discover() -> None:
    """Import all plugin modules; doing it again does nothing."""
    for package_name in PACKAGES:
        package = importlib.import_module(package_name)
        for module in pkgutil.iter_modules(package.__path__):
            importlib.import_module(f"{package_name}.{module.name}")
