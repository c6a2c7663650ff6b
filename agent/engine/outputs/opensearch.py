"""Output `opensearch`: documents for OpenSearch, by its bulk API."""

from dataclasses import dataclass

from agent.engine.bulk import BULK_REFUSED, Bulk, BulkOptions
from agent.engine.config import InvalidProperty, included
from agent.engine.plugin import Context, Result
from agent.engine.record import Batch
from agent.engine.registry import outputs
from agent.engine.template import Template, template
from agent.engine.upstream import basic_auth


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenSearchConfig:
    """What the opensearch output takes; `index` may have `$TAG` and `$key` in it."""

    bulk: BulkOptions = included(BulkOptions)


@outputs.register("opensearch", OpenSearchConfig, refused=BULK_REFUSED)
class OpenSearch:
    """Sends documents to OpenSearch."""

    def __init__(self, config: OpenSearchConfig, context: Context) -> None:
        options = config.bulk
        headers = [] if options.http_user is None else [basic_auth(options.http_user, options.http_passwd)]
        query = f"/?pipeline={options.pipeline}" if options.pipeline else ""
        index = _index(options.index) if "$" in options.index else None
        self._bulk = Bulk(options, context, uri=f"/_bulk{query}", headers=headers, index=index)

    async def open(self) -> None:
        self._bulk.open()

    async def write(self, batch: Batch) -> Result:
        return await self._bulk.write(batch)

    async def close(self) -> None:
        self._bulk.close()


def _index(text: str) -> Template:
    try:
        return template(text)
    except ValueError as error:
        raise InvalidProperty("index", str(error)) from None
