"""Input `prometheus_scrape`: reads the page of something that Prometheus would scrape, now and then.

A page that cannot be had or read is told and gives nothing; the next look is another one.
"""

import asyncio
from dataclasses import dataclass

from agent.engine.config import INTEGER, SIZE, STRING, TIME, InvalidProperty, included, option
from agent.engine.http_client import Connection, ProtocolError, Response
from agent.engine.pace import every
from agent.engine.plugin import Context, Inlet
from agent.engine.points import size
from agent.engine.prometheus import read_text
from agent.engine.record import Batch
from agent.engine.registry import inputs
from agent.engine.upstream import REFUSED, ConnectionOptions, Upstream, basic_auth, check_headers


@dataclass(frozen=True, slots=True, kw_only=True)
class PrometheusScrapeConfig:
    """What the prometheus_scrape input takes."""

    host: str = option(STRING, "localhost", help="the server's name or address")
    port: int = option(INTEGER, 9100, help="the server's port")
    metrics_path: str = option(STRING, "/metrics", help="path of the page")
    scrape_interval: float = option(TIME, 10, help="seconds between two looks, and the longest wait for a page")
    buffer_max_size: int = option(SIZE, 10_000_000, help="bytes of the largest page that is taken")
    http_user: str | None = option(STRING, help="user for basic authentication")
    http_passwd: str = option(STRING, "", help="password for basic authentication")
    bearer_token: str | None = option(STRING, help="token of a bearer, in place of a user")
    connection: ConnectionOptions = included(ConnectionOptions)


@inputs.register("prometheus_scrape", PrometheusScrapeConfig, refused=(*REFUSED, "listen"))
class PrometheusScrape:
    """Reads metrics from a page for Prometheus."""

    def __init__(self, config: PrometheusScrapeConfig, context: Context) -> None:
        if not config.metrics_path.startswith("/"):
            raise InvalidProperty("metrics_path", "expected a path that starts with /")
        if config.scrape_interval <= 0:
            raise InvalidProperty("scrape_interval", "expected more than 0 seconds")
        self._config = config
        self._context = context
        self._upstream = Upstream(config.host, config.port, config.connection)
        self._headers = [("Host", str(self._upstream)), ("User-Agent", "Fluent-Bit")]
        if config.bearer_token is not None:
            self._headers.append(("Authorization", f"Bearer {config.bearer_token}"))
        elif config.http_user is not None:
            self._headers.append(basic_auth(config.http_user, config.http_passwd))
        check_headers(self._headers)

    async def open(self) -> None:
        self._upstream.open()

    async def run(self, inlet: Inlet) -> None:
        async for _ in every(self._config.scrape_interval):
            try:
                batch = self._read(await self._fetch())
            except (OSError, TimeoutError, EOFError, ProtocolError, ValueError) as error:
                where, why = f"{self._upstream}{self._config.metrics_path}", str(error) or type(error).__name__
                self._context.log.error("%s cannot be scraped: %s", where, why)
                continue
            if batch.records:
                await inlet.push(batch)

    async def close(self) -> None:
        pass

    async def _fetch(self) -> Response:
        async with asyncio.timeout(self._config.scrape_interval):
            reader, writer = await self._upstream.connect()
            connection = Connection(reader, writer, max_body=self._config.buffer_max_size + 1)
            try:
                return await connection.request("GET", self._config.metrics_path, self._headers, b"")
            finally:
                connection.close()

    def _read(self, page: Response) -> Batch:
        """Raises ValueError for what is no page of metrics."""
        limit = self._config.buffer_max_size
        if page.status != 200:
            raise ValueError(f"HTTP status={page.status}")
        if len(page.body) > limit:
            raise ValueError(f"the page has more than {limit} bytes; raise buffer_max_size")
        text = page.body.decode("utf-8", "replace")
        found = read_text(text, now=self._context.clock(), source=self._context.name)
        points = [one for _, one in found]
        return Batch(self._context.tag, [when for when, _ in found], points, None, size(points), "metrics")
