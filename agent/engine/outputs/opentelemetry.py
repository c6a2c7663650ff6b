"""Output `opentelemetry`: posts logs to an OTLP receiver, in protobuf over HTTP. Needs the extra `otlp`.

2xx up to 205 is delivered; 408, 429 and everything outside 4xx is tried again; other 4xx are refusals, and the chunk is
dropped.
"""

from dataclasses import dataclass

from agent.engine.accessor import accessor, parse_path
from agent.engine.config import BOOLEAN, INTEGER, PAIR, STRING, InvalidProperty, included, option
from agent.engine.plugin import Context, Result
from agent.engine.record import Batch
from agent.engine.registry import outputs
from agent.engine.upstream import (
    REFUSED,
    ConnectionOptions,
    HttpUpstream,
    Upstream,
    basic_auth,
    check_headers,
    gzipped,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class OpentelemetryConfig:
    """What the opentelemetry output takes."""

    host: str = option(STRING, "127.0.0.1", help="the receiver's name or address")
    port: int = option(INTEGER, 80, help="the receiver's port")
    logs_uri: str = option(STRING, "/v1/logs", help="path of the request")
    logs_body_key: str | None = option(
        STRING, help="key or record accessor of the body; else it is log, message or the whole record"
    )
    logs_body_key_attributes: bool = option(BOOLEAN, False, help="keep what is beside the body as attributes")
    logs_metadata_key: str = option(STRING, "otlp", help="key of OTLP's own fields in the metadata")
    batch_size: int = option(INTEGER, 1000, help="most records of a request")
    compress: str | None = option(STRING, choices=("gzip",), help="compression of the body")
    header: tuple[tuple[str, str], ...] = option(PAIR, repeated=True, help="a header's name and value")
    http_user: str | None = option(STRING, help="user for basic authentication")
    http_passwd: str = option(STRING, "", help="password for basic authentication")
    log_response_payload: bool = option(BOOLEAN, True, help="log what the receiver answers with an error")
    connection: ConnectionOptions = included(ConnectionOptions)


_REFUSED = (
    *REFUSED,
    "add_label",
    "http2",
    "grpc",
    "proxy",
    "aws_auth",
    "aws_service",
    "aws_region",
    "aws_sts_endpoint",
    "aws_role_arn",
    "aws_external_id",
    "aws_profile",
    "metrics_uri",
    "traces_uri",
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


@outputs.register("opentelemetry", OpentelemetryConfig, refused=_REFUSED)
class Opentelemetry:
    """Posts logs to an OTLP receiver."""

    def __init__(self, config: OpentelemetryConfig, context: Context) -> None:
        try:
            from agent.engine import otlp  # here, so that others need neither the extra nor its imports
        except ImportError:
            raise InvalidProperty("name", "needs OTLP's messages; install 'headrace[otlp]'") from None
        if config.batch_size < 1:
            raise InvalidProperty("batch_size", "expected at least 1")
        check_headers(config.header)
        keys = ["$log", "$message"] if config.logs_body_key is None else [config.logs_body_key]
        try:
            bodies = [(accessor(key), _top_key(key)) for key in keys]
        except ValueError as error:
            raise InvalidProperty("logs_body_key", str(error)) from None
        self._config = config
        self._request = otlp.logs_request
        self._shape = otlp.LogShape(
            bodies=bodies,
            rest_as_attributes=config.logs_body_key_attributes,
            metadata_key=config.logs_metadata_key,
        )
        self._server = HttpUpstream(Upstream(config.host, config.port, config.connection), context.log)
        self._uri = config.logs_uri if config.logs_uri.startswith("/") else f"/{config.logs_uri}"
        self._headers = [
            self._server.host_header,
            ("Content-Type", "application/x-protobuf"),
            ("User-Agent", "Fluent-Bit"),
            *([basic_auth(config.http_user, config.http_passwd)] if config.http_user is not None else []),
            *config.header,
        ]

    async def open(self) -> None:
        self._server.open()

    async def write(self, batch: Batch) -> Result:
        step = self._config.batch_size
        for start in range(0, len(batch), step):
            body = self._request(batch, start, min(start + step, len(batch)), self._shape)
            headers = self._headers
            if self._config.compress:
                body, headers = gzipped(body, headers)
            result = await self._server.deliver(
                self._uri,
                headers,
                body,
                delivered=range(200, 206),
                log_answer=self._config.log_response_payload,
            )
            if result is not Result.OK:
                return result
        return Result.OK

    async def close(self) -> None:
        self._server.close()


def _top_key(text: str) -> str | None:
    """The key of an accessor that is of one key; of a nested value none."""
    path = parse_path(text) if text.startswith("$") else (text,)
    return path[0] if len(path) == 1 else None
