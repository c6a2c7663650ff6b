"""Output `prometheus_remote_write`: posts metrics to what takes Prometheus's remote write.

Samples that are too old or out of order are refused, and stay so: the chunk is dropped.
"""

import gzip
from dataclasses import dataclass

from agent.engine.config import STRING, included, option
from agent.engine.plugin import Context, Result
from agent.engine.posting import POSTING_REFUSED, Posting, PostingOptions
from agent.engine.record import Batch
from agent.engine.registry import outputs
from agent.engine.remote_write import write_request
from agent.engine.snappy import framed


@dataclass(frozen=True, slots=True, kw_only=True)
class PrometheusRemoteWriteConfig:
    """What the prometheus_remote_write output takes."""

    uri: str = option(STRING, "/", help="path of the request")
    compression: str = option(STRING, "snappy", choices=("snappy", "gzip"), help="compression of the body")
    posting: PostingOptions = included(PostingOptions)


@outputs.register("prometheus_remote_write", PrometheusRemoteWriteConfig, refused=POSTING_REFUSED, signals=("metrics",))
class PrometheusRemoteWrite:
    """Posts metrics by Prometheus's remote write."""

    def __init__(self, config: PrometheusRemoteWriteConfig, context: Context) -> None:
        self._config = config
        self._labels = dict(config.posting.add_label)
        headers = (
            ("Content-Type", "application/x-protobuf"),
            ("X-Prometheus-Remote-Write-Version", "0.1.0"),
            ("Content-Encoding", config.compression),
        )
        self._server = Posting(config.posting, context.log, headers)

    async def open(self) -> None:
        self._server.open()

    async def write(self, batch: Batch) -> Result:
        body = write_request(batch, self._labels)
        body = framed(body) if self._config.compression == "snappy" else gzip.compress(body, 6)
        return await self._server.post(self._config.uri, body)

    async def close(self) -> None:
        self._server.close()
