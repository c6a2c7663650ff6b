"""People whom a Kubernetes cluster knows: by a real HTTP conversation with a server that answers as a cluster does."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from controlplane.identity import roles
from controlplane.identity.cluster import GROUP, KEPT_S, RESOURCE, Cluster, ClusterAddress
from controlplane.kubernetes_reviews import KubernetesReviews
from headrace.errors import ForbiddenError, InvalidError, UnauthenticatedError, UnavailableError
from headrace.management import ManagementClient
from headrace.types import KnownBy, Role
from tests.conftest import Clock
from tests.controlplane.conftest import Start, manifest
from tests.kube_access import KubernetesAccess

ROOT = Path(__file__).parents[3]


@pytest.fixture
async def kubernetes(tmp_path: Path) -> AsyncIterator[KubernetesAccess]:
    async with KubernetesAccess(tmp_path / "account") as kubernetes:
        kubernetes.tokens = {"t-ann": ("ann@example.com", ("ops",)), "t-eve": ("eve", ())}
        yield kubernetes


@pytest.fixture
async def reviews(kubernetes: KubernetesAccess) -> AsyncIterator[KubernetesReviews]:
    async with aclosing(KubernetesReviews(kubernetes.address)) as reviews:
        yield reviews


@pytest.fixture
def cluster(reviews: KubernetesReviews, clock: Clock) -> Cluster:
    return Cluster(reviews, monotonic=clock)


@pytest.mark.parametrize("who", ["ann@example.com", "ops", "system:authenticated"])
async def test_the_highest_verb_that_rbac_allows_is_the_role(
    kubernetes: KubernetesAccess, cluster: Cluster, clock: Clock, who: str
) -> None:
    for role in Role:
        kubernetes.grants.add((who, role.value))
        assert await cluster.known_by("t-ann") == ("ann@example.com", role)
        clock.advance(KEPT_S)
    kubernetes.grants = {(who, "admin")}
    assert await cluster.known_by("t-ann") == ("ann@example.com", Role.ADMIN)


async def test_whom_the_cluster_does_not_know_or_gives_no_role_is_refused_with_the_reason(
    kubernetes: KubernetesAccess, cluster: Cluster
) -> None:
    kubernetes.grants = {("ann@example.com", "get"), ("mallory", "admin")}
    with pytest.raises(UnauthenticatedError, match="neither one of this control plane nor of its Kubernetes cluster"):
        await cluster.known_by("t-nobody")
    with pytest.raises(UnauthenticatedError, match="'eve' is known to the Kubernetes cluster and has no role here"):
        await cluster.known_by("t-eve")
    assert {
        review.get("namespace") for review in (spec.get("resourceAttributes", {}) for spec in kubernetes.reviewed)
    } == {
        None,
        "headrace",
    }


async def test_an_answer_counts_for_half_a_minute_and_a_change_is_known_after_it(
    kubernetes: KubernetesAccess, cluster: Cluster, clock: Clock
) -> None:
    kubernetes.grants = {("ann@example.com", "read")}
    for _ in range(5):
        assert await cluster.known_by("t-ann") == ("ann@example.com", Role.READ)
        with pytest.raises(UnauthenticatedError):
            await cluster.known_by("t-nobody")
    assert kubernetes.asked["TokenReview"] == 2
    kubernetes.grants.clear()
    clock.advance(KEPT_S - 1)
    assert await cluster.known_by("t-ann") == ("ann@example.com", Role.READ)
    clock.advance(1)
    with pytest.raises(UnauthenticatedError, match="has no role here"):
        await cluster.known_by("t-ann")
    del kubernetes.tokens["t-ann"]
    clock.advance(KEPT_S)
    with pytest.raises(UnauthenticatedError, match="neither one of this control plane"):
        await cluster.known_by("t-ann")


async def test_a_source_that_waits_delays_nobody_else(kubernetes: KubernetesAccess, cluster: Cluster) -> None:
    kubernetes.grants = {("ann@example.com", "read")}
    kubernetes.silent = True
    stuck = [asyncio.create_task(cluster.known_by(f"t-{n}", waiting=True), name=f"stuck {n}") for n in range(20)]
    await kubernetes.heard.wait()
    kubernetes.silent = False
    assert await cluster.known_by("t-ann") == ("ann@example.com", Role.READ)
    assert kubernetes.asked["TokenReview"] == 1
    for task in stuck:
        task.cancel()
    await asyncio.gather(*stuck, return_exceptions=True)


async def test_a_cluster_that_cannot_be_asked_lets_in_nobody_and_says_why(
    kubernetes: KubernetesAccess, reviews: KubernetesReviews, cluster: Cluster, clock: Clock, tmp_path: Path
) -> None:
    kubernetes.grants = {("ann@example.com", "admin")}
    kubernetes.delegates = False
    with pytest.raises(
        UnavailableError, match=r"\(403\); bind its service account to ClusterRole system:auth-delegator"
    ):
        await cluster.known_by("t-ann")
    kubernetes.delegates = True
    (kubernetes.address.folder / "token").write_text("of yesterday")
    with pytest.raises(UnavailableError, match=r"does not let this control plane ask who somebody is \(401\)"):
        await cluster.known_by("t-ann")
    kubernetes.silent = True
    async with aclosing(KubernetesReviews(kubernetes.address, timeout_s=0.05)) as hasty:
        with pytest.raises(
            UnavailableError, match=r"does not answer: .*; until it does, who is known by it cannot get in"
        ):
            await hasty.subject_of("t-ann")
    (tmp_path / "other").mkdir()
    async with KubernetesAccess(tmp_path / "other/account") as other:
        elsewhere = replace(kubernetes.address, folder=other.address.folder)
        async with aclosing(KubernetesReviews(elsewhere)) as stranger:
            with pytest.raises(UnavailableError, match="CERTIFICATE_VERIFY_FAILED"):
                await stranger.subject_of("t-ann")
    await kubernetes.close()
    with pytest.raises(UnavailableError, match="does not answer"):
        await cluster.known_by("t-ann")


def test_outside_of_a_cluster_and_without_a_service_account_it_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    with pytest.raises(InvalidError, match="are for a control plane in Kubernetes"):
        ClusterAddress.of_this_pod()
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "fd00::1")
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", "6443")
    assert ClusterAddress.of_this_pod().url == "https://[fd00::1]:6443"
    with pytest.raises(InvalidError, match="automountServiceAccountToken: true"):
        KubernetesReviews(ClusterAddress(url="https://127.0.0.1:1", folder=tmp_path))


async def test_a_plane_in_a_cluster_knows_its_people_and_its_own_users_too(
    start: Start, kubernetes: KubernetesAccess
) -> None:
    kubernetes.grants = {("ops", "edit")}
    async with start(cluster=kubernetes.address) as plane:
        async with ManagementClient(plane.running.ready.grpc, "t-ann") as client:
            await client.apply_pipelines([manifest()])
            (revision,) = await client.list_revisions("edge")
            assert (revision.author, revision.author_known_by) == ("ann@example.com", KnownBy.KUBERNETES)
            with pytest.raises(
                ForbiddenError, match=r"'ann@example\.com' has role 'edit', and create token needs 'deploy'"
            ):
                await client.create_token()
        async with ManagementClient(plane.running.ready.grpc, "t-eve") as client:
            with pytest.raises(UnauthenticatedError, match="has no role here"):
                await client.list_pipelines()
            await kubernetes.close()
        async with ManagementClient(plane.running.ready.grpc, "t-new") as client:
            with pytest.raises(
                UnavailableError, match=r"the Kubernetes API at https://127\.0\.0\.1:.* does not answer"
            ):
                await client.list_pipelines()
        told = {event.kind: (event.actor, event.actor_known_by, event.source) for event in await plane.events()}
        assert told["pipeline.applied"] == ("ann@example.com", KnownBy.KUBERNETES, "127.0.0.1")
        refused = [event.message for event in await plane.events("user.unauthenticated")]
        assert ["does not answer" in message for message in refused] == [True, False]
        assert told["user.unauthenticated"] == ("", None, "127.0.0.1")
        assert "t-ann" not in repr(await plane.events())


def test_the_roles_that_are_shipped_are_the_verbs_that_are_asked_for() -> None:
    folder = ROOT / "deploy/kubernetes"
    documents = list(yaml.safe_load_all((folder / "people.yaml").read_text()))
    found = {each["metadata"]["name"]: each["rules"] for each in documents if each["kind"] == "ClusterRole"}
    assert found == {
        f"headrace-{role.value}": [
            {"apiGroups": [GROUP], "resources": [RESOURCE], "verbs": [each.value for each in roles.ORDER[: number + 1]]}
        ]
        for number, role in enumerate(roles.ORDER)
    }
    documents = list(yaml.safe_load_all((folder / "headrace.yaml").read_text()))
    (binding,) = (each for each in documents if each["kind"] == "ClusterRoleBinding")
    assert binding["roleRef"]["name"] == "system:auth-delegator"
    (pod,) = (each["spec"]["template"]["spec"] for each in documents if each["kind"] == "Deployment")
    assert pod["automountServiceAccountToken"] is True
    assert binding["subjects"] == [
        {"kind": "ServiceAccount", "name": pod["serviceAccountName"], "namespace": "headrace"}
    ]
