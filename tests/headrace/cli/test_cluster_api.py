"""`cluster bootstrap` against a real Kubernetes API server, where one is given, and a control plane in memory."""

from __future__ import annotations

import base64
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from headrace.cli import cluster_manifests as manifests
from headrace.cli.kubeconfig import access
from headrace.cli.kubernetes import Cluster
from headrace.errors import HeadraceError
from tests.headrace.cli.fake_plane import FakePlane
from tests.headrace.cli.test_cluster import plane as plane
from tests.headrace.cli.test_cluster import run as run
from tests.headrace.cli.test_commands import Ended
from tests.kube_real import RealKubernetes

DEPLOYMENTS = Path(__file__).parents[3] / "deploy/kubernetes"
Run = Callable[..., Ended]


@pytest.fixture
def bootstrap(run: Run, real_kubernetes: RealKubernetes, monkeypatch: pytest.MonkeyPatch) -> Run:
    """The command, on the namespace of this test; `--no-wait` where nothing runs pods."""
    monkeypatch.setenv("KUBECONFIG", real_kubernetes.kubeconfig)

    def command(*more: str, away: bool = False) -> Ended:
        how = "--uninstall" if away else "--server headrace.example.com:443 --no-wait"
        return run(*more, line=f"cluster bootstrap --name eu-1 --namespace {real_kubernetes.namespace} {how}")

    return command


def test_all_of_it_is_taken_and_to_say_it_again_changes_nothing(
    bootstrap: Run, real_kubernetes: RealKubernetes, plane: FakePlane
) -> None:
    ended = bootstrap()
    assert ended.code == 0, ended.err
    before = state_of(real_kubernetes)
    assert {name: document["metadata"]["generation"] for name, document in before.items() if "spec" in document} == {
        "DaemonSet/headrace-agent": 1
    }
    (token,) = plane.tokens.values()
    data = before["Secret/headrace-enrol"]["data"]
    assert base64.b64decode(data["token"]).decode() == f"hrb_{token.id}.secret-{token.id}"
    assert bootstrap().code == 0
    assert state_of(real_kubernetes) == before
    assert bootstrap("--env", "A=b").code == 0
    changed = state_of(real_kubernetes)
    assert changed["ConfigMap/headrace-agent"]["data"]["A"] == "b"
    assert changed["DaemonSet/headrace-agent"]["metadata"]["generation"] == 2
    assert bootstrap().code == 0
    assert "A" not in state_of(real_kubernetes)["ConfigMap/headrace-agent"]["data"]


def test_what_somebody_else_manages_is_told_and_taken_by_force_alone(
    bootstrap: Run, real_kubernetes: RealKubernetes, plane: FakePlane
) -> None:
    bootstrap()
    path = real_kubernetes.path("ConfigMap", "headrace-agent")
    theirs = real_kubernetes.call("GET", path)
    theirs["data"]["HEADRACE_AGENT_TLS"] = "false"
    real_kubernetes.call("PUT", f"{path}?fieldManager=somebody", theirs)
    ended = bootstrap()
    assert ended.code == 1
    assert 'conflict with "somebody"' in ended.err
    assert "HEADRACE_AGENT_TLS; somebody else manages that; --force takes it over" in ended.err
    assert bootstrap("--force").code == 0
    assert real_kubernetes.call("GET", path)["data"]["HEADRACE_AGENT_TLS"] == "true"


def test_uninstalling_leaves_nothing_and_may_be_said_again(
    bootstrap: Run, real_kubernetes: RealKubernetes, plane: FakePlane
) -> None:
    bootstrap()
    ended = bootstrap(away=True)
    assert (ended.code, ended.out) == (0, "cluster/eu-1 removed\n"), ended.err
    assert all(is_going(document) for document in state_of(real_kubernetes).values())
    assert is_going(
        real_kubernetes.call("GET", real_kubernetes.path("Namespace", real_kubernetes.namespace), missing_ok=True)
    )
    assert [token.revoked for token in plane.tokens.values()] == [True]
    assert bootstrap(away=True).code == 0


def test_a_namespace_on_its_way_out_is_told(bootstrap: Run, real_kubernetes: RealKubernetes, plane: FakePlane) -> None:
    bootstrap()
    path = real_kubernetes.path("Namespace", real_kubernetes.namespace)
    held = real_kubernetes.call("GET", path)
    real_kubernetes.call("PUT", f"{path}/finalize", {**held, "spec": {"finalizers": ["headrace.dev/test"]}})
    try:
        bootstrap(away=True)
        ended = bootstrap()
        said = f"namespace '{real_kubernetes.namespace}' is being deleted there; wait until it is gone"
        assert (ended.code, said in ended.err) == (1, True), ended.err
    finally:
        held = real_kubernetes.call("GET", path)
        real_kubernetes.call("PUT", f"{path}/finalize", {**held, "spec": {}})


def test_a_field_that_is_unknown_is_refused(real_kubernetes: RealKubernetes) -> None:
    real_kubernetes.make("Namespace", real_kubernetes.namespace)
    layout = manifests.Layout(cluster="t", server="h:443", namespace=real_kubernetes.namespace, image="none")
    cluster = Cluster(access("", {"KUBECONFIG": real_kubernetes.kubeconfig}))
    with pytest.raises(HeadraceError, match="junk"):
        cluster.apply({**manifests.workloads(layout)[1], "junk": 1})


@pytest.mark.parametrize("name", ["headrace.yaml", "people.yaml"])
def test_the_manifests_that_are_shipped_are_valid(real_kubernetes: RealKubernetes, name: str) -> None:
    real_kubernetes.make("Namespace", real_kubernetes.namespace)
    for document in yaml.safe_load_all((DEPLOYMENTS / name).read_text()):
        try:
            real_kubernetes.would_take(document)
        except AssertionError as refusal:
            if "Probe.grpc: field not declared" not in str(refusal):
                raise
            # It is older than 1.24, which has probes by gRPC; it looks at all else.
            for container in document["spec"]["template"]["spec"]["containers"]:
                del container["readinessProbe"], container["livenessProbe"]
            real_kubernetes.would_take(document)


def state_of(kubernetes: RealKubernetes) -> dict[str, dict[str, Any]]:
    """What is there of ours, without what changes by itself."""
    found = {}
    for kind in ("Secret", "ServiceAccount", "ConfigMap", "DaemonSet"):
        for document in kubernetes.call("GET", kubernetes.path(kind))["items"]:
            metadata = document["metadata"]
            if manifests.OURS.items() <= metadata.get("labels", {}).items():
                kept = {
                    key: value for key, value in metadata.items() if key in ("uid", "generation", "deletionTimestamp")
                }
                found[f"{kind}/{metadata['name']}"] = {
                    **{key: document[key] for key in ("data", "spec") if key in document},
                    "metadata": kept,
                }
    return found


def is_going(document: dict[str, Any]) -> bool:
    """Where something finishes the deletion, it may be gone; where nothing does, it is marked."""
    return not document or "deletionTimestamp" in document["metadata"]
