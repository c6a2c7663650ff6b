"""What a cluster says of tokens and rights, by the API server in this process and by a real one where one is given."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, aclosing
from pathlib import Path
from typing import Protocol

import pytest
import yaml

from controlplane.identity.cluster import ClusterAddress, Subject
from controlplane.identity.service_accounts import AccountRules
from controlplane.kubernetes_reviews import KubernetesReviews
from headrace.client import enroll
from headrace.errors import ForbiddenError, UnauthenticatedError, UnavailableError
from headrace.management import ManagementClient
from headrace.messages import EnrollRequest
from headrace.types import Facts, KnownBy, Role
from tests.controlplane.conftest import Start
from tests.kube_real import RealKubernetes
from tests.kube_reviews import KubernetesReviewing

ROLES = Path(__file__).parents[3] / "deploy/kubernetes/people.yaml"
AGENT, PERSON = "headrace-agent", "ann"


class Answering(Protocol):
    """A cluster with two service accounts, of which one has the pod `pod-1`, and with our roles."""

    namespace: str
    address: ClusterAddress

    def token(self, account: str, *audiences: str) -> str:
        """For these audiences; for the cluster's API without any."""

    def bind(self, account: str, role: Role) -> None:
        """From now on the account has this role."""

    def forbid(self) -> None:
        """The control plane may ask nothing any more."""


class InThisProcess:
    """The one that all other tests use."""

    namespace = "headrace"

    def __init__(self, server: KubernetesReviewing) -> None:
        self._server, self.address = server, server.address

    def token(self, account: str, *audiences: str) -> str:
        if audiences:
            return self._server.project(f"{self.namespace}:{account}", *audiences)
        self._server.tokens[f"t-{account}"] = (self._name(account), ())
        return f"t-{account}"

    def bind(self, account: str, role: Role) -> None:
        order = [each.value for each in Role]
        self._server.grants |= {(self._name(account), verb) for verb in order[: order.index(role.value) + 1]}

    def forbid(self) -> None:
        self._server.delegates = False

    def _name(self, account: str) -> str:
        return f"system:serviceaccount:{self.namespace}:{account}"


class Real:
    """One with objects of its own, made as our manifests and an operator make them."""

    def __init__(self, server: RealKubernetes, folder: Path) -> None:
        self._server, self.namespace = server, server.namespace
        server.make("Namespace", self.namespace)
        for account in ("cloud-api", AGENT, PERSON):
            server.make("ServiceAccount", account)
        container = {"name": "agent", "image": "none"}
        server.make("Pod", "pod-1", spec={"serviceAccountName": AGENT, "containers": [container]})
        for role in yaml.safe_load_all(ROLES.read_text()):
            server.make("ClusterRole", self._own(role["metadata"]["name"]), rules=role["rules"])
        self._delegate()
        folder.mkdir()
        for name, data in (("ca.crt", server.ca), ("namespace", self.namespace), ("token", server.token("cloud-api"))):
            (folder / name).write_bytes(data.encode() if isinstance(data, str) else data)
        self.address = ClusterAddress(url=server.url, folder=folder)

    def _own(self, name: str) -> str:
        """Cluster-wide, and of this test alone."""
        return f"{self.namespace}-{name}"

    def _delegate(self) -> None:
        self._server.make(
            "ClusterRoleBinding",
            self._own("delegator"),
            roleRef=_role("system:auth-delegator"),
            subjects=[self._subject("cloud-api")],
        )

    def _subject(self, account: str) -> dict[str, str]:
        return {"kind": "ServiceAccount", "name": account, "namespace": self.namespace}

    def token(self, account: str, *audiences: str) -> str:
        return self._server.token(account, *audiences, pod="pod-1" if account == AGENT else "")

    def bind(self, account: str, role: Role) -> None:
        name = f"{account}-{role.value}"
        self._server.make(
            "RoleBinding",
            name,
            roleRef=_role(self._own(f"headrace-{role.value}")),
            subjects=[self._subject(account)],
        )

    def forbid(self) -> None:
        (self.address.folder / "token").write_text(self.token(PERSON))


def _role(name: str) -> dict[str, str]:
    return {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": name}


@pytest.fixture(params=["in this process", "real"])
async def kubernetes(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Answering]:
    async with AsyncExitStack() as stack:
        if request.param == "real":
            yield Real(request.getfixturevalue("real_kubernetes"), tmp_path / "pod")
        else:
            yield InThisProcess(await stack.enter_async_context(KubernetesReviewing(tmp_path / "pod")))


@pytest.fixture
async def reviews(kubernetes: Answering) -> AsyncIterator[KubernetesReviews]:
    async with aclosing(KubernetesReviews(kubernetes.address)) as reviews:
        yield reviews


async def test_a_projected_token_is_known_for_its_audience_with_its_pod(
    kubernetes: Answering, reviews: KubernetesReviews
) -> None:
    found = await reviews.review(kubernetes.token(AGENT, "headrace", "other"), "headrace")
    assert (found.authenticated, found.name) == (True, f"system:serviceaccount:{kubernetes.namespace}:{AGENT}")
    assert found.audiences == ("headrace",)
    assert list(found.extra["authentication.kubernetes.io/pod-name"]) == ["pod-1"]


async def test_a_token_for_another_audience_is_known_to_nobody_and_its_refusal_says_why(
    kubernetes: Answering, reviews: KubernetesReviews
) -> None:
    found = await reviews.review(kubernetes.token(AGENT, "vault"), "headrace")
    assert (found.authenticated, "audience" in found.error) == (False, True), found.error
    # Nor is ours good for the cluster's own API, or that one's for us.
    assert await reviews.subject_of(kubernetes.token(AGENT, "headrace")) is None
    found = await reviews.review(kubernetes.token(PERSON), "headrace")
    assert not found.authenticated
    found = await reviews.review("made-up", "headrace")
    assert (found.authenticated, found.audiences, "audience" in found.error) == (False, (), False), found.error


async def test_a_role_is_what_a_binding_in_the_namespace_gives(
    kubernetes: Answering, reviews: KubernetesReviews
) -> None:
    subject = await reviews.subject_of(kubernetes.token(PERSON))
    assert subject is not None
    assert subject.name == f"system:serviceaccount:{kubernetes.namespace}:{PERSON}"
    assert "system:authenticated" in subject.groups
    assert [await reviews.allows(subject, role.value) for role in Role] == [False] * 4
    kubernetes.bind(PERSON, Role.EDIT)
    assert [await reviews.allows(subject, role.value) for role in Role] == [True, True, False, False]
    assert not await reviews.allows(Subject(name="somebody"), "read")


async def test_a_control_plane_that_may_not_ask_says_what_it_lacks(
    kubernetes: Answering, reviews: KubernetesReviews
) -> None:
    token = kubernetes.token(PERSON)
    kubernetes.forbid()
    with pytest.raises(UnavailableError, match=r"\(403\); bind its service account to .* system:auth-delegator"):
        await reviews.subject_of(token)
    (kubernetes.address.folder / "token").write_text("of yesterday")
    with pytest.raises(UnavailableError, match=r"does not let this control plane ask who somebody is \(401\)"):
        await reviews.subject_of(token)


async def test_people_and_agents_of_the_cluster_come_in_by_its_tokens_alone(
    kubernetes: Answering, start: Start
) -> None:
    rules = AccountRules(accounts=(f"{kubernetes.namespace}:{AGENT}",))
    kubernetes.bind(PERSON, Role.READ)
    token = kubernetes.token(PERSON)
    async with start(cluster=kubernetes.address, accounts=rules, accounts_of=kubernetes.address) as plane:

        async def ask(account: str, audience: str) -> None:
            claims = {"kubernetes": kubernetes.token(account, audience)}
            facts = Facts(name="node-1", version="0")
            await enroll(plane.running.ready.channel, EnrollRequest(token="", facts=facts, claims=claims))

        await ask(AGENT, "headrace")
        with pytest.raises(UnauthenticatedError, match="wrong audience: it is not for 'headrace'"):
            await ask(AGENT, "vault")
        with pytest.raises(ForbiddenError, match=f"wrong account: service account '{kubernetes.namespace}:{PERSON}'"):
            await ask(PERSON, "headrace")
        async with ManagementClient(plane.running.ready.grpc, token) as client:
            (agent,) = await client.list_agents()
            assert agent.labels["headrace.dev/pod"] == "pod-1"
            with pytest.raises(ForbiddenError, match="has role 'read', and create token needs 'deploy'"):
                await client.create_token()
        (denied,) = await plane.events("user.refused")
        assert (denied.actor, denied.actor_known_by) == (
            f"system:serviceaccount:{kubernetes.namespace}:{PERSON}",
            KnownBy.KUBERNETES,
        )
