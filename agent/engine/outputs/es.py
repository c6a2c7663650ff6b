"""Output `es`: documents for Elasticsearch, by its bulk API."""

from dataclasses import dataclass

from agent.engine.bulk import BULK_REFUSED, Bulk, BulkOptions
from agent.engine.config import STRING, included, option
from agent.engine.plugin import Context, Result
from agent.engine.record import Batch
from agent.engine.registry import outputs
from agent.engine.upstream import Headers, basic_auth


@dataclass(frozen=True, slots=True, kw_only=True)
class ElasticsearchConfig:
    """What the es output takes."""

    http_api_key: str | None = option(STRING, help="key for authentication, where there is no user")
    bulk: BulkOptions = included(BulkOptions)


_REFUSED = (*BULK_REFUSED, "cloud_id", "cloud_auth", "upstream")


@outputs.register("es", ElasticsearchConfig, refused=_REFUSED)
class Elasticsearch:
    """Sends documents to Elasticsearch."""

    def __init__(self, config: ElasticsearchConfig, context: Context) -> None:
        options = config.bulk
        headers: Headers = []
        if options.http_user is not None:
            headers.append(basic_auth(options.http_user, options.http_passwd))
        elif config.http_api_key is not None:
            headers.append(("Authorization", f"ApiKey {config.http_api_key}"))
        query = f"?pipeline={options.pipeline}" if options.pipeline else ""
        self._bulk = Bulk(options, context, uri=f"/_bulk{query}", headers=headers)

    async def open(self) -> None:
        self._bulk.open()

    async def write(self, batch: Batch) -> Result:
        return await self._bulk.write(batch)

    async def close(self) -> None:
        self._bulk.close()
