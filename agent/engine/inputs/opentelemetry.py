"""Input `opentelemetry`: logs over OTLP, in protobuf or JSON by HTTP. Needs the extra `otlp`.

The answer says that they are taken: in memory, or on disk where `storage.type` is filesystem. Metrics and traces are
refused with 501, which senders do not repeat.
"""

import re
from dataclasses import dataclass

from agent.engine.config import BOOLEAN, INTEGER, STRING, InvalidProperty, option
from agent.engine.http_input import HTTP_REFUSED, HttpOptions, HttpReceiver, Refusal
from agent.engine.http_requests import Request
from agent.engine.plugin import Context, Inlet
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
    """Takes logs over OTLP."""

    def __init__(self, config: OpentelemetryInputConfig, context: Context) -> None:
        try:
            from agent.engine import otlp_reader  # here, so that others need neither the extra nor its imports
        except ImportError:
            raise InvalidProperty("name", "needs OTLP's messages; install 'headrace[otlp]'") from None
        self._config = config
        self._context = context
        self._reader = otlp_reader
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
        """The log records of a request. Raises ValueError, and then none of them is taken."""
        config, path = self._config, request.path.partition("?")[0]
        if path in ("/v1/metrics", "/v1/traces"):
            raise Refusal(501, f"{path} is not implemented by the embedded engine; /v1/logs is")
        if path != "/v1/logs":
            raise Refusal(404, f"{path} is not served here; /v1/logs is")
        if request.method != "POST":
            raise ValueError("invalid HTTP method")
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind not in ("application/x-protobuf", "application/json"):
            raise ValueError(f"Content-Type {kind!r} is none of OTLP's")
        body = self._receiver.plain(request)
        found = self._reader.read_json(body) if kind == "application/json" else self._reader.read_protobuf(body)
        batch = Batch(_NOT_IN_TAG.sub("_", path.removeprefix("/")) if config.tag_from_uri else self._context.tag)
        batch.metadata = []
        for when, record, metadata in self._reader.records_of(
            found,
            now=self._context.clock(),
            body_key=config.logs_body_key,
            metadata_key=config.logs_metadata_key,
        ):
            batch.times.append(when)
            batch.records.append(record)
            batch.metadata.append(metadata)
        batch.size = len(body)
        return [batch] if batch.records else []
