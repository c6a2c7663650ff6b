"""Digests: equal where both ends would act alike, different where they would not."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.digests import facts_digest, workloads_digest
from headrace.types import (
    Attempt,
    AttemptState,
    Engine,
    EngineInfo,
    Facts,
    Fault,
    Health,
    Observed,
    Running,
)

NOW = datetime(2026, 1, 1, tzinfo=UTC)
ATTEMPT = Attempt(generation=5, state=AttemptState.OK)
RUNNING = Running(generation=5, sha256="ab" * 32, health=Health.HEALTHY)
WEB = Observed(pipeline="web", desired=5, attempt=ATTEMPT, running=RUNNING, good=5)
FACTS = Facts(
    name="edge-1",
    version="0.1.0",
    os="linux",
    arch="x86_64",
    labels={"role": "edge", "region": "eu"},
    capabilities=("reload", "trial"),
    engines=(EngineInfo(engine=Engine.EMBEDDED, version="0.1.0", catalogue_sha256="cd" * 32),),
)

OBSERVED = st.builds(
    Observed,
    pipeline=st.text(max_size=5),
    desired=st.integers(0, 9),
    attempt=st.none() | st.builds(Attempt, generation=st.integers(0, 9), state=st.sampled_from(AttemptState)),
    running=st.none() | st.builds(Running, generation=st.integers(0, 9), sha256=st.sampled_from(["", "ab"])),
    good=st.integers(0, 9),
)


@pytest.mark.parametrize(
    "other",
    [
        replace(WEB, pipeline="api"),
        replace(WEB, desired=6),
        replace(WEB, good=4),
        replace(WEB, attempt=None),
        replace(WEB, running=None),
        replace(WEB, attempt=replace(ATTEMPT, generation=6)),
        replace(WEB, attempt=replace(ATTEMPT, state=AttemptState.FAILED)),
        replace(WEB, attempt=replace(ATTEMPT, quarantined=True)),
        replace(WEB, running=replace(RUNNING, generation=4)),
        replace(WEB, running=replace(RUNNING, sha256="ef" * 32)),
        replace(WEB, running=replace(RUNNING, health=Health.DEGRADED)),
    ],
)
def test_a_workload_that_is_otherwise_has_another_digest(other: Observed) -> None:
    assert workloads_digest([WEB]) != workloads_digest([other])


@pytest.mark.parametrize(
    "other",
    [
        replace(WEB, notes=("http_port is managed",)),
        replace(WEB, attempt=replace(ATTEMPT, at=NOW, retry_at=NOW, faults=(Fault(message="slow"),))),
        replace(WEB, running=replace(RUNNING, since=NOW, restarts=3, message="fine")),
    ],
)
def test_times_and_words_do_not_change_a_digest(other: Observed) -> None:
    assert workloads_digest([WEB]) == workloads_digest([other])


@given(st.lists(OBSERVED, max_size=4).flatmap(lambda items: st.tuples(st.just(items), st.permutations(items))))
def test_the_order_of_workloads_does_not_matter(pair: tuple[list[Observed], list[Observed]]) -> None:
    assert workloads_digest(pair[0]) == workloads_digest(pair[1])


def test_no_workloads_are_not_one_that_has_done_nothing() -> None:
    assert workloads_digest([]) != workloads_digest([Observed(pipeline="")])


@pytest.mark.parametrize(
    "other",
    [
        replace(FACTS, name="edge-2"),
        replace(FACTS, version="0.2.0"),
        replace(FACTS, os="darwin"),
        replace(FACTS, arch="arm64"),
        replace(FACTS, labels={"role": "edge"}),
        replace(FACTS, capabilities=("reload",)),
        replace(FACTS, engines=()),
        replace(FACTS, engines=(replace(FACTS.engines[0], catalogue_sha256=""),)),
    ],
)
def test_facts_that_are_otherwise_have_another_digest(other: Facts) -> None:
    assert facts_digest(FACTS) != facts_digest(other)


def test_the_order_of_labels_and_capabilities_does_not_matter() -> None:
    turned = replace(FACTS, labels=dict(reversed(FACTS.labels.items())), capabilities=("trial", "reload"))
    assert facts_digest(FACTS) == facts_digest(turned)


def test_a_digest_is_the_same_in_every_release() -> None:
    assert facts_digest(FACTS) == "150d16a90b2b4aad7d964d8352a5e024"
    assert workloads_digest([WEB]) == "d4ff102edaddab704481b4162d3ca85e"
