"""InfluxDB 1.x, 2.x and 3.x as the metric store: lines are written, InfluxQL is read, both over HTTP.

The server need not be there at the start; the database is made when it is. A batch that is refused is cut until the bad
lines are alone, which are counted; writing a line again changes nothing, so the others are safe.
"""

from __future__ import annotations

import asyncio
import gzip
import json
import random
import ssl
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import httpx2
import structlog

from controlplane.metrics import aggregation, influxql
from controlplane.metrics.influxdb_answers import Refusal, api_of, message_of, refusal_of, retry_after_s
from controlplane.metrics.influxdb_url import InfluxSettings, parse
from controlplane.metrics.line_protocol import Heads, by_series, cut_of, lines_of, measurement_of
from controlplane.metrics.vocabulary import (
    Block,
    Health,
    Line,
    Query,
    Recent,
    Selection,
    Series,
    StoreUnavailableError,
    Written,
    size_of,
)
from headrace.errors import InvalidError
from headrace.retry import FullJitter

_PING_S, _WRITE_S, _READ_S = 5.0, 15.0, 60.0
_LONGEST_PAUSE_S = 10.0
_SHARED_S = 0.25
_MOST_REQUESTS = 100
"""How often one metric of a batch that is refused is cut and sent again; what is left then is refused as a whole."""
_WORTH_PACKING = 1_000

T = TypeVar("T")

log = structlog.get_logger(__name__)


def store(url: str, *, data_dir: Path) -> InfluxMetricStore:
    """The store of a URL. Raises InvalidError."""
    return InfluxMetricStore(parse(url))


class InfluxMetricStore:
    """See `MetricStore`."""

    def __init__(self, settings: InfluxSettings, *, rng: random.Random | None = None) -> None:
        self._settings = settings
        self._rng = rng or random.Random()
        self._api = settings.api
        self._is_prepared = False
        self._preparing = asyncio.Lock()
        self._failure: str | None = None
        self._failed_until = 0.0
        self._heads = Heads()
        self._tls = _trust(settings) if settings.tls else False
        self._client: httpx2.AsyncClient | None = None

    @property
    def description(self) -> str:
        """The kind and the place."""
        return f"influxdb {self._settings.place}"

    async def open(self) -> None:
        """Connects when there is something to say."""
        self._client = httpx2.AsyncClient(
            base_url=self._settings.address,
            verify=self._tls,
            trust_env=False,
            timeout=_READ_S,
            limits=httpx2.Limits(max_connections=8),
        )

    async def run(self) -> None:
        """Prepares the database, and tries until the server lets it."""
        jitter = FullJitter(self._rng, first=0.5, maximum=_LONGEST_PAUSE_S)
        failures = 0
        while not self._is_prepared:
            try:
                await self._prepare()
            except StoreUnavailableError as error:
                log.warning("metric store unavailable", attempt=failures + 1, error=error.message)
                await asyncio.sleep(max(error.retry_after_s, jitter.delay(failures)))
                failures += 1
        log.info("metric store ready", store=self.description, api=self._api)

    async def close(self) -> None:
        """Ends its connections."""
        client, self._client = self._client, None
        if client is not None:
            await client.aclose()

    async def write(self, blocks: Sequence[Block]) -> Written:
        """One request, and more when some of it is refused."""
        await self._prepare()
        refused: Counter[str] = Counter()
        lines = lines_of(blocks, lambda reason: refused.update([reason]), heads=self._heads)
        if lines:
            await _Batch(self, refused).send(lines)
        return Written(stored=size_of(blocks) - refused.total(), refused=dict(refused))

    async def query(self, query: Query) -> tuple[Line, ...]:
        """The server folds each step of each series; groups are folded here, as for every store."""
        if _is_empty(query.selection):
            return ()
        return await self._ask(
            influxql.steps_statement(query), lambda answer: aggregation.lines(query, influxql.steps(query, answer))
        )

    async def latest(self, selection: Selection, *, since_ms: int) -> tuple[Recent, ...]:
        """Two statements in one request."""
        if _is_empty(selection):
            return ()
        return await self._ask(
            influxql.latest_statement(selection, since_ms=since_ms), lambda answer: influxql.latest(selection, answer)
        )

    async def series(self, selection: Selection) -> tuple[Series, ...]:
        """Those that have a point."""
        if _is_empty(selection):
            return ()
        return await self._ask(influxql.series_statement(selection), lambda answer: influxql.series(selection, answer))

    async def health(self) -> Health:
        """Whether it answers now, and the database is prepared."""
        try:
            await self._prepare()
            await self._request("GET", "/ping", timeout=_PING_S)
        except StoreUnavailableError as error:
            return Health(ok=False, message=error.message)
        return Health(ok=True)

    async def put(self, lines: Sequence[str]) -> Refusal | None:
        """Sends lines; what was refused of them. Raises StoreUnavailableError when they are to be sent again."""
        body = ("\n".join(lines) + "\n").encode()
        headers = {"content-type": "text/plain; charset=utf-8"}
        if len(body) >= _WORTH_PACKING:
            body = await asyncio.to_thread(gzip.compress, body, 1)
            headers["content-encoding"] = "gzip"
        path, parameters = self._write_to()
        answer = await self._request(
            "POST", path, parameters=parameters, headers=headers, body=body, timeout=_WRITE_S, let=(400, 404, 413, 422)
        )
        if answer.status_code == 404:
            self._is_prepared = False  # somebody dropped it: the next write makes it anew
            raise StoreUnavailableError(f"{self.description}: {message_of(answer.content)}")
        if answer.status_code == 413:
            return Refusal("too large for InfluxDB", "the batch is too large")
        return refusal_of(answer.content) if answer.status_code >= 400 else None

    # Preparing.

    async def _prepare(self) -> None:
        async with self._preparing:
            if self._is_prepared:
                return
            loop = asyncio.get_running_loop()
            if self._failure is not None and loop.time() < self._failed_until:
                raise StoreUnavailableError(self._failure)  # who waited for an attempt shares how it ended
            try:
                await self._prepare_now()
            except StoreUnavailableError as error:
                self._failure, self._failed_until = error.message, loop.time() + _SHARED_S
                raise
            self._is_prepared, self._failure = True, None

    async def _prepare_now(self) -> None:
        if not self._api:
            self._api = api_of((await self._request("GET", "/ping", timeout=_PING_S)).headers)
        if self._api == 1:
            await self._make_database()
        elif self._api == 2:
            await self._make_bucket()
        # 3.x makes a database with its first line.

    async def _make_database(self) -> None:
        database = self._settings.database
        if database in influxql.first_column(await self._query("SHOW DATABASES")):
            return
        hours = self._settings.retention_h
        keep = f' WITH DURATION {hours}h REPLICATION 1 NAME "headrace"' if hours else ""
        influxql.check(await self._query(f"CREATE DATABASE {influxql.name(database)}{keep}"))
        log.info("database of metrics made", store=self.description, retention_hours=hours)

    async def _make_bucket(self) -> None:
        bucket, org = self._settings.database, self._settings.org
        found = await self._request("GET", "/api/v2/buckets", parameters={"name": bucket, "org": org}, let=(404, 400))
        if found.status_code == 400 or _json(found).get("buckets"):
            return  # one that is no InfluxDB itself, and takes lines all the same, has no buckets
        orgs = _json(await self._request("GET", "/api/v2/orgs", parameters={"org": org}, let=(404,))).get("orgs")
        if not orgs:
            if found.status_code == 404 and not _json(found):
                return
            raise StoreUnavailableError(f"{self.description}: there is no organisation {org!r}; give ?org=")
        hours = self._settings.retention_h
        rules = [{"type": "expire", "everySeconds": hours * 3600}] if hours else []
        body = json.dumps({"orgID": orgs[0]["id"], "name": bucket, "retentionRules": rules}).encode()
        await self._request(
            "POST", "/api/v2/buckets", body=body, headers={"content-type": "application/json"}, let=(422,)
        )
        log.info("bucket of metrics made", store=self.description, retention_hours=hours)

    # Talking.

    def _write_to(self) -> tuple[str, dict[str, str]]:
        database = self._settings.database
        match self._api:
            case 2:
                return "/api/v2/write", {"org": self._settings.org, "bucket": database, "precision": "ms"}
            case 3:
                return "/api/v3/write_lp", {"db": database, "precision": "millisecond", "accept_partial": "true"}
        return "/write", {"db": database, "precision": "ms"}

    async def _ask(self, statements: str, read: Callable[[Mapping[str, Any]], T]) -> T:
        """What is read of the answer, in a thread: that of a large fleet takes seconds, and control must go on."""
        await self._prepare()
        answer = await self._answer(statements)
        return await asyncio.to_thread(lambda: read(_json(answer)))

    async def _query(self, statements: str) -> Mapping[str, Any]:
        return _json(await self._answer(statements))

    async def _answer(self, statements: str) -> httpx2.Response:
        form = {"q": statements, "db": self._settings.database, "epoch": "ms"}
        return await self._request("POST", "/query", form=form, let=(400,))

    async def _request(
        self,
        method: str,
        path: str,
        *,
        parameters: Mapping[str, str] | None = None,
        form: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
        timeout: float = _READ_S,
        let: tuple[int, ...] = (),
    ) -> httpx2.Response:
        """An answer below 400, or one of those that are let through; StoreUnavailableError for every other."""
        if self._client is None:
            raise StoreUnavailableError(f"{self.description} is closed")
        try:
            answer = await self._client.request(
                method,
                path,
                params=parameters,
                data=form,
                content=body,
                headers={**self._credentials(), **(headers or {})},
                auth=self._login(),
                timeout=timeout,
            )
        except httpx2.HTTPError as error:
            why = str(error) or type(error).__name__
            raise StoreUnavailableError(f"{self.description} does not answer: {why}") from error
        status = answer.status_code
        if status < 400 or status in let:
            return answer
        told = message_of(answer.content)
        words = f"{self.description} answered {status}{f': {told}' if told else ''}"
        if status in (401, 403):
            words += "; check the user and password, or the token, and what it may do"
        wish = retry_after_s(answer.headers.get("retry-after", ""), now=datetime.now(UTC))
        raise StoreUnavailableError(words, retry_after_s=wish)

    def _credentials(self) -> dict[str, str]:
        return {"authorization": f"Token {self._settings.token}"} if self._settings.token else {}

    def _login(self) -> httpx2.BasicAuth | None:
        if self._settings.token or not self._settings.user:
            return None
        return httpx2.BasicAuth(self._settings.user, self._settings.password)


class _Batch:
    """The lines of one write, cut where they are refused: between metrics first, then within one."""

    def __init__(self, store: InfluxMetricStore, refused: Counter[str]) -> None:
        self._store = store
        self._refused = refused
        self._requests: Counter[str] = Counter()
        self._is_sorted = False

    async def send(self, lines: Sequence[str]) -> None:
        refusal = await self._store.put(lines)
        if refusal is None:
            return
        if not refusal.lines and not self._is_sorted:
            lines, self._is_sorted = by_series(lines), True
        metric = measurement_of(lines[0])
        is_one_metric = metric == measurement_of(lines[-1])
        self._requests[metric] += is_one_metric
        if refusal.lines:  # the server says which, and has taken the others
            self._refuse(refusal, [lines[number - 1] for number in refusal.lines if 0 < number <= len(lines)])
        elif len(lines) == 1 or self._requests[metric] >= _MOST_REQUESTS:
            self._refuse(refusal, lines)
        else:
            cut = cut_of(lines)
            await self.send(lines[:cut])
            await self.send(lines[cut:])

    def _refuse(self, refusal: Refusal, lines: Sequence[str]) -> None:
        if not self._refused[refusal.reason]:
            log.warning("metrics refused", why=refusal.message, line=lines[0][:300] if lines else "")
        self._refused[refusal.reason] += len(lines)


def _is_empty(selection: Selection) -> bool:
    return any(not values for values in selection.tags.values())


def _json(answer: httpx2.Response) -> Mapping[str, Any]:
    try:
        document = json.loads(answer.content)
    except ValueError:
        document = None
    if isinstance(document, dict):
        return document
    if answer.status_code >= 400:
        return {}
    raise StoreUnavailableError(f"{answer.url.host} does not speak as InfluxDB does: {message_of(answer.content)}")


def _trust(settings: InfluxSettings) -> ssl.SSLContext:
    """Raises InvalidError for a file of certificates that is none."""
    try:
        return ssl.create_default_context(cafile=settings.ca or None)
    except (OSError, ssl.SSLError) as error:
        raise InvalidError(f"metric store: ca {settings.ca!r} holds no certificates: {error}") from error
