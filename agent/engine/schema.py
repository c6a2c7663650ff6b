"""What every plugin takes, in the shape of Fluent Bit's `-J` (pure, given the registry)."""

from typing import Any

from agent.engine.config import Option, options_of
from agent.engine.plugin import FilterSettings, InputSettings, OutputSettings
from agent.engine.registry import Registry, filters, inputs, outputs, processors
from agent.engine.version import engine_version


def schema() -> dict[str, Any]:
    """Plugins by kind, each with its own options and those of its kind."""
    return {
        "fluent-bit": {"version": f"headrace-{engine_version()}", "schema_version": "1", "os": "linux"},
        "customs": [],
        "inputs": _plugins(inputs, InputSettings),
        "processors": _plugins(processors, None),
        "filters": _plugins(filters, FilterSettings),
        "outputs": _plugins(outputs, OutputSettings),
    }


def _plugins(registry: Registry[Any], settings: type | None) -> list[dict[str, Any]]:
    shown = []
    for plugin in registry:
        properties = {"options": _options(plugin.config)}
        if settings is not None:
            properties["global_options"] = _options(settings)
        shown.append(
            {"type": registry.kind, "name": plugin.name, "description": plugin.description, "properties": properties}
        )
    return shown


def _options(shape: type) -> list[dict[str, Any]]:
    return [_option(name, spec) for _, spec in options_of(shape) for name in spec.names]


def _option(name: str, spec: Option) -> dict[str, Any]:
    return {"name": name, "description": spec.help, "default": _default(spec.default), "type": spec.kind.name}


def _default(value: Any) -> str | None:
    if value is None or value == ():
        return None
    return str(value).lower() if isinstance(value, bool) else str(value)
