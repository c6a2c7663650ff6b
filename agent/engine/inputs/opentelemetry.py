"""Input `opentelemetry`: logs and metrics over OTLP, in protobuf or JSON by HTTP. Needs the extra `otlp`.

The answer says that they are taken: in memory, or on disk where `storage.type` is filesystem. Traces are refused with
501, which senders do not repeat.
"""

import re
from dataclasses import dataclass

from agent.engine.config import BOOLEAN, INTEGER, STRING, InvalidProperty, option
from agent.engine.http_input import HTTP_REFUSED, HttpOptions, HttpReceiver, Refusal
from agent.engine.http_requests import Request
from agent.engine.plugin import Context, Inlet
from agent.engine.points import size
from agent.engine.record import Batch
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
class OpentelemetryInput:
    """Takes logs and metrics over OTLP."""

    def __init__(self, config: OpentelemetryInputConfig, context: Context) -> None:
        try:
            from agent.engine import otlp_metrics, otlp_reader  # here, so that others need neither the extra nor this
        except ImportError:
            raise InvalidProperty("name", "needs OTLP's messages; install 'headrace[otlp]'") from None
        self._config = config
        self._context = context
        self._reader = otlp_reader
        self._metrics = otlp_metrics
        self._receiver = HttpReceiver(config, config.port, context, self._batches)
        self.listener = self._receiver.listener

    @property
    def listens_on(self) -> str | None:
        return self.listener.address.claim

    async def open(self) -> None:
        await self.listener.open()

    async def run(self, inlet: Inlet) -> None:
        await self._receiver.run(inlet)

    async def close(self) -> None:
        await self.listener.close()

    def _batches(self, request: Request) -> list[Batch]:
        """The log records or points of a request. Raises ValueError, and then none of them is taken."""
        config, path = self._config, request.path.partition("?")[0]
        if path == "/v1/traces":
            raise Refusal(501, "traces are not implemented by the embedded engine")
        if path not in ("/v1/logs", "/v1/metrics"):
            raise Refusal(404, f"{path} is not served here; /v1/logs and /v1/metrics are")
        if request.method != "POST":
            raise ValueError("invalid HTTP method")
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind not in ("application/x-protobuf", "application/json"):
            raise ValueError(f"Content-Type {kind!r} is none of OTLP's")
        body, is_json = self._receiver.plain(request), kind == "application/json"
        tag = _NOT_IN_TAG.sub("_", path.removeprefix("/")) if config.tag_from_uri else self._context.tag
        batch = self._logs(tag, body, is_json) if path == "/v1/logs" else self._points(tag, body, is_json)
        return [batch] if batch.records else []

    def _logs(self, tag: str, body: bytes, is_json: bool) -> Batch:
        found = self._reader.read_json(body) if is_json else self._reader.read_protobuf(body)
        batch = Batch(tag, metadata=[], size=len(body))
        assert batch.metadata is not None
        for when, record, metadata in self._reader.records_of(
            found,
            now=self._context.clock(),
            body_key=self._config.logs_body_key,
            metadata_key=self._config.logs_metadata_key,
        ):
            batch.times.append(when)
            batch.records.append(record)
            batch.metadata.append(metadata)
        return batch

    def _points(self, tag: str, body: bytes, is_json: bool) -> Batch:
        request = self._metrics.read_metrics(body, is_json=is_json)
        found = list(self._metrics.points_of(request, now=self._context.clock(), source=self._context.name))
        points = [one for _, one in found]
        return Batch(tag, [when for when, _ in found], points, None, size(points), "metrics")
