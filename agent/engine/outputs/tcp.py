"""Output `tcp`: writes chunks into a connection, one kept for each write under way.

A chunk is delivered when the kernel has all of it, for nobody answers: what a peer that goes away had not read yet is
lost, as with Fluent Bit. A kept connection that the peer has closed is replaced before the next write.
"""

from dataclasses import dataclass

from agent.engine.config import INTEGER, STRING, InvalidProperty, included, option
from agent.engine.encode import DATE_FORMATS, JSON_FORMATS, JsonFormat
from agent.engine.msgpack import encode_batch
from agent.engine.plugin import Context, Result
from agent.engine.record import Batch
from agent.engine.registry import outputs
from agent.engine.template import Template, template
from agent.engine.upstream import REFUSED, ConnectionOptions, Streams, Upstream


@dataclass(frozen=True, slots=True, kw_only=True)
class TcpConfig:
    """What the tcp output takes."""

    host: str = option(STRING, "127.0.0.1", help="the server's name or address")
    port: int = option(INTEGER, 5170, help="the server's port")
    format: str = option(STRING, "msgpack", choices=("msgpack", *JSON_FORMATS), help="how a chunk is written")
    json_date_key: str = option(STRING, "date", help="key for the time; 'false' leaves it out")
    json_date_format: str = option(STRING, "double", choices=DATE_FORMATS, help="how the time is written")
    raw_message_key: str | None = option(STRING, help="$key whose text is written, with a line end, for each record")
    connection: ConnectionOptions = included(ConnectionOptions)


@outputs.register("tcp", TcpConfig, refused=REFUSED)
class Tcp:
    """Writes records into a TCP connection."""

    def __init__(self, config: TcpConfig, context: Context) -> None:
        self._config = config
        self._log = context.log
        self._streams = Streams(Upstream(config.host, config.port, config.connection))
        self._json = JsonFormat(
            config.format,
            date_key=None if config.json_date_key.lower() in ("false", "off", "no") else config.json_date_key,
            date_format=config.json_date_format,
            escape_unicode=context.escape_unicode,
        )
        self._message = _template(config.raw_message_key) if config.raw_message_key else None

    async def open(self) -> None:
        self._streams.open()

    async def write(self, batch: Batch) -> Result:
        data = self._encoded(batch)
        try:
            async with self._streams.borrowed() as stream:
                stream.writer.write(data)
                await stream.writer.drain()
        except (OSError, TimeoutError) as error:
            self._log.error("could not deliver to %s: %s", self._streams, str(error) or type(error).__name__)
            return Result.RETRY
        return Result.OK

    async def close(self) -> None:
        self._streams.close()

    def _encoded(self, batch: Batch) -> bytes:
        if self._message is not None:
            return "".join([self._message(batch.tag, record) + "\n" for record in batch.records]).encode(
                "utf-8", "replace"
            )
        return encode_batch(batch) if self._config.format == "msgpack" else self._json.encode(batch)


def _template(text: str) -> Template:
    try:
        return template(text)
    except ValueError as error:
        raise InvalidProperty("raw_message_key", str(error)) from None
