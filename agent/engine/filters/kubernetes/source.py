"""Where metadata comes from: the API server, the kubelet, or files; and how long it is kept.

What was had is kept as long as the configuration says. What could not be had is known for PATIENCE seconds, and when a
server does not answer at all, nothing is asked for as long, so that records of many pods do not wait one after the
other. Used from the event loop's thread only; any number of requests may be under way.
"""

import asyncio
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, Generic, TypeVar
from urllib.parse import quote

import orjson

from agent.engine.config import InvalidProperty
from agent.engine.filters.kubernetes.config import KubernetesConfig
from agent.engine.filters.kubernetes.metadata import Metadata, find_pod, namespace_metadata, pod_metadata
from agent.engine.filters.kubernetes.names import Names
from agent.engine.http_client import ProtocolError
from agent.engine.kubernetes import Server, split_url
from agent.engine.logs import PluginLog
from agent.engine.record import Record

Value = TypeVar("Value")

DEADLINE = 10.0
"""Seconds that a server has for its answer."""
PATIENCE = 10.0
"""Seconds before what could not be had is asked for again."""
MOST = 2048
"""Containers, and namespaces, that are known at once."""
UNBOUNDED = 100_000_000


class Cache(Generic[Value]):
    """Values that are forgotten after their time, or as the oldest of too many."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._values: dict[tuple[str, ...], tuple[Value, float]] = {}

    def __contains__(self, key: tuple[str, ...]) -> bool:
        return key in self._values and self._clock() < self._values[key][1]

    def get(self, key: tuple[str, ...]) -> Value | None:
        """Also what has just run out: it was there when somebody asked whether it is."""
        return self._values[key][0] if key in self._values else None

    def put(self, key: tuple[str, ...], value: Value, seconds: float) -> None:
        """Keep a value for so long; 0 means for good."""
        self._values.pop(key, None)
        if len(self._values) >= MOST:
            del self._values[next(iter(self._values))]
        self._values[key] = (value, self._clock() + (seconds or math.inf))


class Source:
    """The metadata of pods and namespaces."""

    def __init__(self, config: KubernetesConfig, log: PluginLog, clock: Callable[[], float]) -> None:
        """Raises InvalidProperty."""
        scheme, host, port = split_url(config.server.kube_url)
        self.wants_pods = not config.namespace_metadata_only
        self.wants_namespaces = config.namespace_labels or config.namespace_annotations
        if config.use_tag_for_meta and self.wants_namespaces:
            why = "asks nobody, so it goes with neither namespace_labels nor namespace_annotations"
            raise InvalidProperty("use_tag_for_meta", why)
        self._config = config
        self._log = log
        self._clock = clock
        self._pods: Cache[Metadata | None] = Cache(clock)
        self._namespaces: Cache[Record | None] = Cache(clock)
        self._quiet_until = 0.0
        self._is_found = False
        hostname, most = config.tls_verify_hostname, config.buffer_size or UNBOUNDED
        self._api = Server(scheme, host, port, config.server, log, verify_hostname=hostname, max_body=most)
        self._kubelet = Server(
            "http" if config.kube_meta_preload_cache_dir else "https",  # as Fluent Bit does
            config.kubelet_host,
            config.kubelet_port,
            config.server,
            log,
            verify_hostname=hostname,
            max_body=most,
        )

    def open(self) -> None:
        """Raises PluginError."""
        if not self._config.use_tag_for_meta:
            self._api.open()
            if self._config.use_kubelet:
                self._kubelet.open()

    def lacks(self, names: Names) -> bool:
        """Whether something is to be asked for before `pod` and `namespace` can tell."""
        if self._config.use_tag_for_meta:
            return False
        return (self.wants_pods and self._key(names) not in self._pods) or (
            self.wants_namespaces and (names.namespace,) not in self._namespaces
        )

    async def fetch(self, names: Names) -> None:
        """Ask for what is lacking. Raises nothing: what cannot be had is logged, and known as that for a while."""
        await self._wait_for_dns()
        config, key = self._config, self._key(names)
        if self.wants_pods and key not in self._pods:
            self._pods.put(key, *await self._pod(names))
        if self.wants_namespaces and (names.namespace,) not in self._namespaces:
            what, uri = f"namespace {names.namespace}", f"/api/v1/namespaces/{quote(names.namespace, safe='')}"
            found = await self._get(f"{names.namespace}.namespace_meta", self._api, uri, what)
            record = namespace_metadata(names.namespace, found, config) if found is not None else None
            self._namespaces.put(
                (names.namespace,), record, PATIENCE if record is None else config.kube_meta_namespace_cache_ttl
            )

    def pod(self, names: Names) -> Metadata | None:
        """What is known of a container; None where nothing could be had."""
        return Metadata(names.record()) if self._config.use_tag_for_meta else self._pods.get(self._key(names))

    def namespace(self, names: Names) -> Record | None:
        """What is known of a namespace; None where nothing could be had."""
        return self._namespaces.get((names.namespace,))

    def _key(self, names: Names) -> tuple[str, ...]:
        container = (names.namespace, names.pod, names.container)
        return (*container, names.docker_id) if self._config.cache_use_docker_id else container

    async def _pod(self, names: Names) -> tuple[Metadata | None, float]:
        """What is known of a container, and for how long that is kept."""
        config, what = self._config, f"pod {names.namespace}/{names.pod}"
        uri = f"/api/v1/namespaces/{quote(names.namespace, safe='')}/pods/{quote(names.pod, safe='')}"
        server, uri = (self._kubelet, "/pods") if config.use_kubelet else (self._api, uri)
        found = await self._get(f"{names.namespace}_{names.pod}.meta", server, uri, what)
        if found is None:
            return None, PATIENCE
        if config.use_kubelet and (found := find_pod(names, found)) is None:
            self._log.warning("the kubelet knows no %s; its records have what their tag says", what)
            return Metadata(names.record()), PATIENCE
        metadata = pod_metadata(names, found, config)
        for why in metadata.wishes.refused:
            self._log.warning("%s: %s", what, why)
        return metadata, config.kube_meta_cache_ttl

    async def _get(self, file: str, server: Server, uri: str, what: str) -> Any:
        """What a file says, or else the server; None where nothing can be had."""
        if self._config.kube_meta_preload_cache_dir is not None and "/" not in file:
            try:
                return orjson.loads((Path(self._config.kube_meta_preload_cache_dir) / file).read_bytes())
            except (OSError, ValueError):
                pass
        if self._clock() < self._quiet_until:
            return None
        try:
            async with asyncio.timeout(DEADLINE):
                response = await server.get(uri)
            if response.status == 200:
                return orjson.loads(response.body)
            why = f"HTTP status={response.status}"
        except orjson.JSONDecodeError:
            why = "the answer is no JSON, or larger than buffer_size"
        except (OSError, TimeoutError, EOFError, ProtocolError) as error:
            why = str(error) or type(error).__name__
            self._quiet_until = self._clock() + PATIENCE
        self._log.warning(
            "no metadata of %s from %s: %s; records pass without it for %g seconds", what, server, why, PATIENCE
        )
        return None

    async def _wait_for_dns(self) -> None:
        """In a pod that has just started, names may not be found yet; this once, wait until they are."""
        config = self._config
        if self._is_found or not Path(config.kube_namespace_file).exists():
            return
        self._is_found = True
        host = config.kubelet_host if config.use_kubelet else self._api.host
        for attempt in range(config.dns_retries):
            try:
                await asyncio.get_running_loop().getaddrinfo(host, None)
            except OSError:
                self._log.info("%s is not found yet (%d of %d)", host, attempt + 1, config.dns_retries)
                await asyncio.sleep(config.dns_wait_time)
            else:
                break
