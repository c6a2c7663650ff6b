"""What outputs share that post bodies to one server and decide by its status: their options, and each request.

2xx up to 205 is delivered; 408, 429 and everything outside 4xx is tried again; other 4xx are refusals, and the chunk is
dropped.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from agent.engine.config import BOOLEAN, INTEGER, PAIR, STRING, included, option
from agent.engine.logs import PluginLog
from agent.engine.plugin import Result
from agent.engine.upstream import (
    AWS_REFUSED,
    REFUSED,
    ConnectionOptions,
    HttpUpstream,
    Upstream,
    basic_auth,
    check_headers,
)

POSTING_REFUSED = (*REFUSED, *AWS_REFUSED, "aws_service", "proxy")
"""What Fluent Bit takes for every such output, and this engine for none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PostingOptions:
    """Where and how to post."""

    host: str = option(STRING, "127.0.0.1", help="the server's name or address")
    port: int = option(INTEGER, 80, help="the server's port")
    add_label: tuple[tuple[str, str], ...] = option(
        PAIR, repeated=True, help="a label's name and value, for all metrics"
    )
    header: tuple[tuple[str, str], ...] = option(PAIR, repeated=True, help="a header's name and value")
    http_user: str | None = option(STRING, help="user for basic authentication")
    http_passwd: str = option(STRING, "", help="password for basic authentication")
    log_response_payload: bool = option(BOOLEAN, True, help="log what the server answers with an error")
    connection: ConnectionOptions = included(ConnectionOptions)


class Posting:
    """One server that bodies of one kind are posted to."""

    def __init__(self, options: PostingOptions, log: PluginLog, headers: Iterable[tuple[str, str]]) -> None:
        """`headers` say what every body is. Raises InvalidProperty."""
        check_headers(options.header)
        self._options = options
        self._server = HttpUpstream(Upstream(options.host, options.port, options.connection), log)
        self._headers = [
            self._server.host_header,
            *headers,
            ("User-Agent", "Fluent-Bit"),
            *([basic_auth(options.http_user, options.http_passwd)] if options.http_user is not None else []),
            *options.header,
        ]

    def open(self) -> None:
        """Raises PluginError."""
        self._server.open()

    def close(self) -> None:
        self._server.close()

    async def post(self, uri: str, body: bytes) -> Result:
        """What became of it."""
        return await self._server.deliver(
            uri if uri.startswith("/") else f"/{uri}",
            self._headers,
            body,
            delivered=range(200, 206),
            log_answer=self._options.log_response_payload,
        )
