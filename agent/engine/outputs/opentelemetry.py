"""Output `opentelemetry`: posts logs, metrics and traces to an OTLP receiver, in protobuf over HTTP. Needs the extra
`otlp`.

A chunk of logs is sent in requests of `batch_size` records, any other one in one request.
"""

import gzip
from collections.abc import Iterator
from dataclasses import dataclass

from agent.engine.accessor import accessor, parse_path
from agent.engine.config import BOOLEAN, INTEGER, STRING, InvalidProperty, included, option
from agent.engine.plugin import Context, Result
from agent.engine.posting import POSTING_REFUSED, Posting, PostingOptions
from agent.engine.record import Batch
from agent.engine.registry import outputs


@dataclass(frozen=True, slots=True, kw_only=True)
class OpentelemetryConfig:
    """What the opentelemetry output takes."""

    logs_uri: str = option(STRING, "/v1/logs", help="path of a request with logs")
    metrics_uri: str = option(STRING, "/v1/metrics", help="path of a request with metrics")
    traces_uri: str = option(STRING, "/v1/traces", help="path of a request with traces")
    logs_body_key: str | None = option(
        STRING, help="key or record accessor of the body; else it is log, message or the whole record"
    )
    logs_body_key_attributes: bool = option(BOOLEAN, False, help="keep what is beside the body as attributes")
    logs_metadata_key: str = option(STRING, "otlp", help="key of OTLP's own fields in the metadata")
    batch_size: int = option(INTEGER, 1000, help="most log records of a request")
    compress: str | None = option(STRING, choices=("gzip",), help="compression of the body")
    posting: PostingOptions = included(PostingOptions)


_REFUSED = (
    *POSTING_REFUSED,
    "http2",
    "grpc",
    "profiles_uri",
    "grpc_logs_uri",
    "grpc_metrics_uri",
    "grpc_traces_uri",
    "grpc_profiles_uri",
    "logs_max_resources",
    "logs_max_scopes",
    "logs_observed_timestamp_metadata_key",
    "logs_timestamp_metadata_key",
    "logs_severity_text_metadata_key",
    "logs_severity_number_metadata_key",
    "logs_trace_flags_metadata_key",
    "logs_span_id_metadata_key",
    "logs_trace_id_metadata_key",
    "logs_attributes_metadata_key",
    "logs_instrumentation_scope_metadata_key",
    "logs_resource_metadata_key",
    "logs_span_id_message_key",
    "logs_trace_id_message_key",
    "logs_severity_text_message_key",
    "logs_severity_number_message_key",
)


@outputs.register("opentelemetry", OpentelemetryConfig, refused=_REFUSED, signals=("logs", "metrics", "traces"))
class Opentelemetry:
    """Posts logs, metrics and traces to an OTLP receiver."""

    def __init__(self, config: OpentelemetryConfig, context: Context) -> None:
        try:
            from agent.engine import otlp, otlp_points, otlp_spans  # here, so that others do not need the extra
        except ImportError:
            raise InvalidProperty("name", "needs OTLP's messages; install 'headrace[otlp]'") from None
        if config.batch_size < 1:
            raise InvalidProperty("batch_size", "expected at least 1")
        keys = ["$log", "$message"] if config.logs_body_key is None else [config.logs_body_key]
        try:
            bodies = [(accessor(key), _top_key(key)) for key in keys]
        except ValueError as error:
            raise InvalidProperty("logs_body_key", str(error)) from None
        self._config = config
        self._labels = dict(config.posting.add_label)
        self._logs = otlp.logs_request
        self._points = otlp_points.points_request
        self._spans = otlp_spans.spans_request
        self._shape = otlp.LogShape(
            bodies=bodies,
            rest_as_attributes=config.logs_body_key_attributes,
            metadata_key=config.logs_metadata_key,
        )
        self._uris = {"logs": config.logs_uri, "metrics": config.metrics_uri, "traces": config.traces_uri}
        headers = [("Content-Type", "application/x-protobuf")]
        if config.compress:
            headers.append(("Content-Encoding", config.compress))
        self._server = Posting(config.posting, context.log, headers)

    async def open(self) -> None:
        self._server.open()

    async def write(self, batch: Batch) -> Result:
        for body in self._bodies(batch):
            sent = gzip.compress(body, 6) if self._config.compress else body
            result = await self._server.post(self._uris[batch.signal], sent)
            if result is not Result.OK:
                return result
        return Result.OK

    async def close(self) -> None:
        self._server.close()

    def _bodies(self, batch: Batch) -> Iterator[bytes]:
        if batch.signal == "metrics":
            yield self._points(batch, self._labels)
        elif batch.signal == "traces":
            yield self._spans(batch)
        else:
            step = self._config.batch_size
            for start in range(0, len(batch), step):
                yield self._logs(batch, start, min(start + step, len(batch)), self._shape)


def _top_key(text: str) -> str | None:
    """The key of an accessor that is of one key; of a nested value none."""
    path = parse_path(text) if text.startswith("$") else (text,)
    return path[0] if len(path) == 1 else None
