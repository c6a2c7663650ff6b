"""Input `http`: records posted as JSON or as a form. The answer says that they are taken: in memory, or on disk where
`storage.type` is filesystem. While the input is paused, requests are refused with 503, and nothing of them is taken.

The tag is the value of `tag_key` in a record, else the path of the request, else the instance's own.
"""

import re
from dataclasses import dataclass
from urllib.parse import unquote_to_bytes

from agent.engine.config import BOOLEAN, INTEGER, PAIR, STRING, InvalidProperty, option
from agent.engine.http_input import HTTP_REFUSED, HttpOptions, HttpReceiver
from agent.engine.http_requests import Request
from agent.engine.listening import Listening
from agent.engine.payload import JsonSplitter
from agent.engine.plugin import Context, Inlet
from agent.engine.record import Batch, Record
from agent.engine.registry import inputs

_TYPES = ("application/json", "application/x-www-form-urlencoded")
_NOT_IN_TAG = re.compile(r"[^A-Za-z0-9_.]")
_BAD_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpInputConfig(HttpOptions):
    """What the http input takes."""

    port: int = option(INTEGER, 9880, help="port to listen on")
    tag_key: str | None = option(STRING, help="key of a record that has its tag")
    success_header: tuple[tuple[str, str], ...] = option(PAIR, repeated=True, help="a header of an answer of success")
    add_remote_addr: bool = option(BOOLEAN, False, help="add the client of header X-Forwarded-For to records")
    remote_addr_key: str = option(STRING, "REMOTE_ADDR", help="key for it")
    enable_health_endpoint: bool = option(BOOLEAN, False, help="answer GET /health")


@inputs.register("http", HttpInputConfig, refused=HTTP_REFUSED)
class HttpInput(Listening):
    """Takes records by HTTP."""

    def __init__(self, config: HttpInputConfig, context: Context) -> None:
        for name, value in config.success_header:
            if not name.isascii() or any(c in name for c in "\r\n: ") or any(c in value for c in "\r\n"):
                raise InvalidProperty("success_header", f"{name!r} is not a header")
        self._config = config
        self._context = context
        self._receiver = HttpReceiver(
            config,
            config.port,
            context,
            self._batches,
            headers=config.success_header,
            has_health=config.enable_health_endpoint,
        )
        self.listener = self._receiver.listener

    async def run(self, inlet: Inlet) -> None:
        await self._receiver.run(inlet)

    def _batches(self, request: Request) -> list[Batch]:
        """The records of a request by tag. Raises ValueError, and then none of them is taken."""
        if request.method != "POST":
            raise ValueError("invalid HTTP method")
        kind = request.headers.get("content-type", "").lower()
        if not kind:
            raise ValueError("header 'Content-Type' is not set")
        if not kind.startswith(_TYPES):
            raise ValueError("invalid 'Content-Type'")
        body = self._receiver.plain(request)
        if not body:
            raise ValueError("no payload found")
        records = _of_json(body) if kind.startswith(_TYPES[0]) else [_of_form(body)]
        client = request.headers.get("x-forwarded-for", "").partition(",")[0].strip()
        path = request.path.partition("?")[0].removeprefix("/")
        usual = _NOT_IN_TAG.sub("_", path) or self._context.tag
        now, batches = self._context.clock(), dict[str, Batch]()
        for record in records:
            if self._config.add_remote_addr and client:
                record.setdefault(self._config.remote_addr_key, client)
            own = record.get(self._config.tag_key) if self._config.tag_key else None
            tag = _NOT_IN_TAG.sub("_", own) if isinstance(own, str) and own else usual
            batch = batches.setdefault(tag, Batch(tag))
            batch.times.append(now)
            batch.records.append(record)
        for batch in batches.values():
            batch.size = len(body) * len(batch) // len(records)
        return list(batches.values())


def _of_json(body: bytes) -> list[Record]:
    splitter = JsonSplitter()
    values, fault = splitter.feed(body)
    if fault or splitter.pending:
        raise ValueError("unable to process records")
    found = [record for value in values for record in (value if isinstance(value, list) else [value])]
    return [record for record in found if isinstance(record, dict)]


def _of_form(body: bytes) -> Record:
    record: Record = {}
    for item in body.decode("utf-8", "replace").split("&"):
        key, equals, value = item.removeprefix("\n").partition("=")
        if key and equals:
            record[key.strip()] = _decoded(value.strip())
    if not record:
        raise ValueError("unable to process records")
    return record


def _decoded(text: str) -> str:
    """A value of a form; one with a broken escape stays as it is."""
    if _BAD_ESCAPE.search(text):
        return text
    return unquote_to_bytes(text.replace("+", " ")).decode("utf-8", "replace")
