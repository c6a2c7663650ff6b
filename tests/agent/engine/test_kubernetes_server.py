"""The engine's two plugins that ask Kubernetes, beside a real API server where one is given."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from agent.engine.record import Batch
from agent.engine.registry import filters, inputs
from tests.agent.engine.conftest import Emitted, PluginKit, Sink, descriptors, running_input
from tests.agent.engine.kubernetes_api import CONTAINER_ID, file_name
from tests.kube_real import RealKubernetes
from tests.processes import eventually


@pytest.fixture(autouse=True)
async def _goodbyes() -> AsyncIterator[None]:
    """The server answers an end of TLS a moment later, and only then is the socket closed."""
    before = descriptors()
    yield
    await eventually(lambda: descriptors() <= before, what="both ends of TLS have said goodbye")


@pytest.fixture
def access(real_kubernetes: RealKubernetes, tmp_path: Path) -> dict[str, Any]:
    """Properties by which a plugin asks as a service account that may read pods, namespaces and events."""
    kubernetes = real_kubernetes
    kubernetes.make("Namespace", kubernetes.namespace, labels={"team": "a"})
    kubernetes.make("ServiceAccount", "engine")
    verbs = ["get", "list", "watch"]
    rules = [{"apiGroups": [""], "resources": ["pods", "namespaces", "events"], "verbs": verbs}]
    kubernetes.make("ClusterRole", kubernetes.namespace, rules=rules)
    kubernetes.make(
        "ClusterRoleBinding",
        kubernetes.namespace,
        roleRef={"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": kubernetes.namespace},
        subjects=[{"kind": "ServiceAccount", "name": "engine", "namespace": kubernetes.namespace}],
    )
    (tmp_path / "token").write_text(kubernetes.token("engine"))
    (tmp_path / "ca.crt").write_bytes(kubernetes.ca)
    files = {"kube_token_file": str(tmp_path / "token"), "kube_ca_file": str(tmp_path / "ca.crt")}
    return {"kube_url": kubernetes.url, **files}


def happen(kubernetes: RealKubernetes, name: str) -> None:
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    about = {"kind": "Pod", "namespace": kubernetes.namespace, "name": "web"}
    more = {"reason": "Tested", "message": f"it is {name}", "type": "Normal", "firstTimestamp": now}
    kubernetes.make("Event", name, involvedObject=about, lastTimestamp=now, **more)


async def test_events_before_and_after_the_start_come_once(
    plugins: PluginKit, sink: Sink, access: dict[str, Any], real_kubernetes: RealKubernetes
) -> None:
    happen(real_kubernetes, "first")
    happen(real_kubernetes, "second")
    plugin = plugins.make(
        inputs, "kubernetes_events", kube_namespace=real_kubernetes.namespace, kube_request_limit=1, **access
    )
    async with running_input(plugin, sink):
        await sink.take(2)
        await asyncio.to_thread(happen, real_kubernetes, "third")
        await sink.take(3)
    assert [record["message"] for record in sink.records] == ["it is first", "it is second", "it is third"]


async def test_a_record_gets_what_the_server_has_of_its_pod(
    plugins: PluginKit, access: dict[str, Any], real_kubernetes: RealKubernetes
) -> None:
    container = {"name": "main", "image": "nginx:1"}
    real_kubernetes.make(
        "Pod", "web", labels={"app": "web"}, spec={"serviceAccountName": "engine", "containers": [container]}
    )
    plugin = plugins.make(filters, "kubernetes", namespace_labels=True, **access)
    await plugin.open()
    batch = Batch(f"kube.var.log.containers.{file_name('web', real_kubernetes.namespace)}", [0], [{"log": "a"}])
    waiting = plugin.prepare(batch)
    assert waiting is not None
    await waiting
    (record,) = plugin.process(batch, Emitted()).records
    found = record["kubernetes"]
    assert (found["pod_name"], found["namespace_name"]) == ("web", real_kubernetes.namespace)
    assert (found["labels"], found["container_name"], found["docker_id"]) == ({"app": "web"}, "main", CONTAINER_ID)
    assert found["pod_id"] == real_kubernetes.get("Pod", "web")["metadata"]["uid"]
    assert record["kubernetes_namespace"]["labels"]["team"] == "a"
    await plugin.close()
