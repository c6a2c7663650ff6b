"""An agent in the same cluster enrols by its service account's token; others are refused, each by its own reason."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from pathlib import Path

import pytest

from controlplane.identity import Enrolment
from controlplane.identity.service_accounts import AccountRules, ServiceAccounts
from controlplane.kubernetes_reviews import KubernetesReviews
from controlplane.settings import Settings
from headrace.client import enroll
from headrace.errors import ForbiddenError, HeadraceError, InvalidError, UnauthenticatedError, UnavailableError
from headrace.messages import EnrollRequest, EnrollResponse
from headrace.types import Facts
from tests.controlplane.conftest import Rules, Start
from tests.kube_reviews import KubernetesReviewing

RULES = AccountRules(accounts=("headrace:headrace-agent",), scope="role in (edge,hub)")
ACCOUNT = "headrace:headrace-agent"


@pytest.fixture
async def cluster(tmp_path: Path) -> AsyncIterator[KubernetesReviewing]:
    async with KubernetesReviewing(tmp_path / "pod") as cluster:
        yield cluster


class Enrolling:
    """The rules of enrolment beside a cluster."""

    def __init__(self, rules: Rules, reviews: KubernetesReviews) -> None:
        self.rules = rules
        accounts = ServiceAccounts(reviews, RULES, clock=rules.clock.now)
        # One that an account vouches for was approved of by that.
        self.enrolment = Enrolment(store=rules.store, clock=rules.clock.now, approve=True, accounts=accounts)

    async def ask(self, token: str, *, enrol: str = "", **labels: str) -> EnrollResponse:
        claims = {"kubernetes": token, "enrol": enrol}
        request = EnrollRequest(token="", facts=Facts(name="node-1", labels=labels), claims=claims)
        return await self.enrolment.enroll(request, peer="ipv4:10.1.0.9:1")


@pytest.fixture
async def enrolling(rules: Rules, cluster: KubernetesReviewing) -> AsyncIterator[Enrolling]:
    async with aclosing(KubernetesReviews(cluster.address, timeout_s=2.0)) as reviews:
        yield Enrolling(rules, reviews)


async def test_an_agent_gets_an_identity_and_the_labels_of_its_pod_and_node(
    cluster: KubernetesReviewing, enrolling: Enrolling
) -> None:
    response = await enrolling.ask(cluster.project(ACCOUNT, "headrace", "other"), role="edge")
    await enrolling.rules.follow()
    row = enrolling.rules.view.agents[response.agent_id].row
    assert row.labels == {
        "role": "edge",
        "headrace.dev/namespace": "headrace",
        "headrace.dev/pod": "pod-1",
        "headrace.dev/node": "node-1",
    }
    assert (row.token_id, row.scope) == (f"kubernetes/{ACCOUNT}", RULES.scope)
    assert cluster.reviewed[-1]["audiences"] == ["headrace"]
    (event,) = await enrolling.rules.events()
    assert event.message == f"node-1 from 10.1.0.9 with the service account {ACCOUNT}"
    # A name that fits no label is left out, and what the token says is over what an agent claims.
    long = await enrolling.ask(cluster.project(ACCOUNT, "headrace", pod="p" * 80, node="n-2"))
    await enrolling.rules.follow()
    assert enrolling.rules.view.agents[long.agent_id].row.token_labels == {
        "headrace.dev/namespace": "headrace",
        "headrace.dev/node": "n-2",
    }


@pytest.mark.parametrize(
    ("token", "labels", "kind", "why"),
    [
        (lambda c: "made-up", {}, UnauthenticatedError, "not authenticated: .*invalid bearer token"),
        (lambda c: c.project(ACCOUNT, "https://kubernetes.default.svc"), {}, UnauthenticatedError, "wrong audience: "),
        (lambda c: c.project("headrace:default", "headrace"), {}, ForbiddenError, "wrong account: .*headrace:default"),
        (lambda c: c.project("other:headrace-agent", "headrace"), {}, ForbiddenError, "wrong account: .*other:headr"),
        (lambda c: c.project(ACCOUNT, "headrace"), {"role": "core"}, ForbiddenError, "wrong scope: .*role=core"),
    ],
    ids=["unknown", "another audience", "another account", "another namespace", "a label out of scope"],
)
async def test_each_token_that_is_not_one_of_ours_is_refused_by_its_own_reason_and_is_an_event(
    cluster: KubernetesReviewing,
    enrolling: Enrolling,
    token: Callable[[KubernetesReviewing], str],
    labels: dict[str, str],
    kind: type[HeadraceError],
    why: str,
) -> None:
    with pytest.raises(kind, match=why):
        await enrolling.ask(token(cluster), **labels)
    (event,) = await enrolling.rules.events()
    assert event.kind == "agent.refused"
    assert why.partition(":")[0] in event.message
    await enrolling.rules.follow()
    assert enrolling.rules.view.agents == {}


async def test_a_check_says_what_would_become_of_it_and_lets_in_nobody(
    cluster: KubernetesReviewing, enrolling: Enrolling
) -> None:
    assert await enrolling.ask(cluster.project(ACCOUNT, "headrace"), enrol="check", role="edge") == EnrollResponse()
    with pytest.raises(UnauthenticatedError, match="wrong audience: "):
        await enrolling.ask(cluster.project(ACCOUNT, "other"), enrol="check")
    with pytest.raises(ForbiddenError, match=r"wrong scope: .*role=core"):
        await enrolling.ask(cluster.project(ACCOUNT, "headrace"), enrol="check", role="core")
    await enrolling.rules.follow()
    assert enrolling.rules.view.agents == {}


async def test_a_server_that_knows_no_audiences_vouches_for_nobody(
    cluster: KubernetesReviewing, enrolling: Enrolling
) -> None:
    cluster.knows_audiences = False
    with pytest.raises(UnauthenticatedError, match="wrong audience: the cluster does not say that"):
        await enrolling.ask(cluster.project(ACCOUNT, "headrace"))


async def test_a_cluster_that_does_not_let_us_ask_or_is_away_lets_in_nobody_for_now(
    cluster: KubernetesReviewing, enrolling: Enrolling
) -> None:
    token = cluster.project(ACCOUNT, "headrace")
    cluster.delegates = False
    with pytest.raises(UnavailableError, match="system:auth-delegator"):
        await enrolling.ask(token)
    await cluster.close()
    with pytest.raises(UnavailableError, match="does not answer"):
        await enrolling.ask(token)
    assert await enrolling.rules.events() == []  # nobody did anything wrong


async def test_a_control_plane_in_a_cluster_takes_them_and_one_elsewhere_says_what_is_missing(
    start: Start, cluster: KubernetesReviewing
) -> None:
    claims = {"kubernetes": cluster.project(ACCOUNT, "headrace")}
    request = EnrollRequest(token="", facts=Facts(name="node-1", version="0"), claims=claims)
    async with start(accounts=RULES, accounts_of=cluster.address) as plane:
        response = await enroll(plane.running.ready.channel, request)
        (agent,) = await plane.client.list_agents()
        assert (agent.id, agent.token_id) == (response.agent_id, f"kubernetes/{ACCOUNT}")
        assert agent.labels["headrace.dev/node"] == "node-1"
    async with start(data="elsewhere") as plane:
        with pytest.raises(UnauthenticatedError, match="start it with --kubernetes-agents"):
            await enroll(plane.running.ready.channel, request)


def test_an_account_without_its_namespace_is_refused(tmp_path: Path) -> None:
    for account in ("agent", ":agent", "headrace:", "a:b:c"):
        with pytest.raises(InvalidError, match="is not NAMESPACE:SERVICEACCOUNT"):
            Settings(data_dir=tmp_path, accounts=AccountRules(accounts=(account,)))
