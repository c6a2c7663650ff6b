"""Input `opentelemetry`: logs, metrics and traces over OTLP, in protobuf or JSON by HTTP. Needs the extra `otlp`.

The answer says that they are taken: in memory, or on disk where `storage.type` is filesystem.
"""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from agent.engine.config import BOOLEAN, INTEGER, STRING, InvalidProperty, option
from agent.engine.http_input import HTTP_REFUSED, HttpOptions, HttpReceiver, Refusal
from agent.engine.http_requests import Request
from agent.engine.listening import Listening
from agent.engine.plugin import Context, Inlet
from agent.engine.points import size
from agent.engine.record import Batch, Record, Signal
from agent.engine.registry import inputs

_NOT_IN_TAG = re.compile(r"[^A-Za-z0-9_.]")


@dataclass(frozen=True, slots=True, kw_only=True)
class OpentelemetryInputConfig(HttpOptions):
    """What the opentelemetry input takes."""

    port: int = option(INTEGER, 4318, help="port to listen on")
    tag_from_uri: bool = option(BOOLEAN, True, help="make the tag of the path: v1_logs of /v1/logs")
    logs_metadata_key: str = option(STRING, "otlp", help="key of OTLP's own fields in the metadata")
    logs_body_key: str | None = option(STRING, help="key of the body; else a map is the record, anything else its log")


_REFUSED = (*HTTP_REFUSED, "tag_key", "raw_traces", "profiles_support", "encode_profiles_as_log")


@inputs.register("opentelemetry", OpentelemetryInputConfig, refused=_REFUSED)
class OpentelemetryInput(Listening):
    """Takes logs, metrics and traces over OTLP."""

    def __init__(self, config: OpentelemetryInputConfig, context: Context) -> None:
        try:
            from agent.engine import (
                otlp_metrics,
                otlp_reader,
                otlp_spans,
            )  # here, so that others need neither the extra
        except ImportError:
            raise InvalidProperty("name", "needs OTLP's messages; install 'headrace[otlp]'") from None
        self._config = config
        self._context = context
        self._readers: dict[str, tuple[Signal, Callable[..., Iterable[tuple[int, Record, Record]]], dict[str, Any]]] = {
            "/v1/logs": (
                "logs",
                otlp_reader.read_logs,
                {"body_key": config.logs_body_key, "metadata_key": config.logs_metadata_key},
            ),
            "/v1/metrics": ("metrics", otlp_metrics.read_points, {"source": context.name}),
            "/v1/traces": ("traces", otlp_spans.read_spans, {}),
        }
        self._receiver = HttpReceiver(config, config.port, context, self._batches)
        self.listener = self._receiver.listener

    async def run(self, inlet: Inlet) -> None:
        await self._receiver.run(inlet)

    def _batches(self, request: Request) -> list[Batch]:
        """What a request has, as one batch. Raises ValueError, and then none of it is taken."""
        path = request.path.partition("?")[0]
        if path not in self._readers:
            raise Refusal(404, f"{path} is not served here; {', '.join(self._readers)} are")
        if request.method != "POST":
            raise ValueError("invalid HTTP method")
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind not in ("application/x-protobuf", "application/json"):
            raise ValueError(f"Content-Type {kind!r} is none of OTLP's")
        body, is_json = self._receiver.plain(request), kind == "application/json"
        signal, read, options = self._readers[path]
        found = list(read(body, is_json=is_json, now=self._context.clock(), **options))
        if not found:
            return []
        times, records, metadata = (list(column) for column in zip(*found, strict=True))
        tag = _NOT_IN_TAG.sub("_", path.removeprefix("/")) if self._config.tag_from_uri else self._context.tag
        return [Batch(tag, times, records, metadata, size(records) if signal == "metrics" else len(body), signal)]
