"""Output `prometheus_remote_write`: posts metrics to what takes Prometheus's remote write.

2xx up to 205 is delivered; 408, 429 and everything outside 4xx is tried again; other 4xx are refusals, and the chunk is
dropped: samples that are too old or out of order stay so.
"""

import gzip
from dataclasses import dataclass

from agent.engine.config import BOOLEAN, INTEGER, PAIR, STRING, included, option
from agent.engine.plugin import Context, Result
from agent.engine.record import Batch
from agent.engine.registry import outputs
from agent.engine.remote_write import write_request
from agent.engine.snappy import framed
from agent.engine.upstream import REFUSED, ConnectionOptions, HttpUpstream, Upstream, basic_auth, check_headers


@dataclass(frozen=True, slots=True, kw_only=True)
class PrometheusRemoteWriteConfig:
    """What the prometheus_remote_write output takes."""

    host: str = option(STRING, "127.0.0.1", help="the server's name or address")
    port: int = option(INTEGER, 80, help="the server's port")
    uri: str = option(STRING, "/", help="path of the request")
    compression: str = option(STRING, "snappy", choices=("snappy", "gzip"), help="compression of the body")
    add_label: tuple[tuple[str, str], ...] = option(PAIR, repeated=True, help="a label's name and value, for all")
    header: tuple[tuple[str, str], ...] = option(PAIR, repeated=True, help="a header's name and value")
    http_user: str | None = option(STRING, help="user for basic authentication")
    http_passwd: str = option(STRING, "", help="password for basic authentication")
    log_response_payload: bool = option(BOOLEAN, True, help="log what the server answers with an error")
    connection: ConnectionOptions = included(ConnectionOptions)


_REFUSED = (
    *REFUSED,
    "proxy",
    "aws_auth",
    "aws_service",
    "aws_region",
    "aws_sts_endpoint",
    "aws_role_arn",
    "aws_external_id",
    "aws_profile",
)


@outputs.register("prometheus_remote_write", PrometheusRemoteWriteConfig, refused=_REFUSED, signals=("metrics",))
class PrometheusRemoteWrite:
    """Posts metrics by Prometheus's remote write."""

    def __init__(self, config: PrometheusRemoteWriteConfig, context: Context) -> None:
        check_headers(config.header)
        self._config = config
        self._labels = dict(config.add_label)
        self._server = HttpUpstream(Upstream(config.host, config.port, config.connection), context.log)
        self._uri = config.uri if config.uri.startswith("/") else f"/{config.uri}"
        self._headers = [
            self._server.host_header,
            ("Content-Type", "application/x-protobuf"),
            ("X-Prometheus-Remote-Write-Version", "0.1.0"),
            ("Content-Encoding", config.compression),
            ("User-Agent", "Fluent-Bit"),
            *([basic_auth(config.http_user, config.http_passwd)] if config.http_user is not None else []),
            *config.header,
        ]

    async def open(self) -> None:
        self._server.open()

    async def write(self, batch: Batch) -> Result:
        body = write_request(batch, self._labels)
        body = framed(body) if self._config.compression == "snappy" else gzip.compress(body, 6)
        return await self._server.deliver(
            self._uri,
            self._headers,
            body,
            delivered=range(200, 206),
            log_answer=self._config.log_response_payload,
        )

    async def close(self) -> None:
        self._server.close()
