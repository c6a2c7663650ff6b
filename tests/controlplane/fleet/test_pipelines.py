"""The rules of pipelines, on a real store."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from controlplane.model import RevisionRow
from headrace import api
from headrace.api import Action
from headrace.errors import ConfirmError, ConflictError, InvalidError, LimitError, NotFoundError
from headrace.limits import DEFAULT_LIMITS
from headrace.types import File, SecretReference
from tests.controlplane.conftest import Rules, manifest


async def delete(rules: Rules, *names: str, **more: Any) -> list[api.Change]:
    request = api.DeletePipelinesRequest(names=names, **more)
    return list((await rules.fleet.pipelines.delete(request, author="ann")).changes)


async def rollback(rules: Rules, name: str, to: int = 0) -> api.Change:
    request = api.RollbackPipelineRequest(name=name, to_revision=to)
    return (await rules.fleet.pipelines.rollback(request, author="ann")).change


async def test_a_new_pipeline_is_created_at_revision_one(rules: Rules) -> None:
    (change,) = await rules.apply(manifest())
    assert (change.action, change.revision, change.generation) == (Action.CREATED, 1, 1)


async def test_an_identical_spec_makes_no_revision_and_no_change(rules: Rules) -> None:
    await rules.apply(manifest(selector="a in (x,y),b=c"))
    before = (await rules.events())[-1].revision
    (change,) = await rules.apply(manifest(selector="b==c,a in (y, x)"))
    assert (change.action, change.revision) == (Action.UNCHANGED, 1)
    assert (await rules.events())[-1].revision == before


@pytest.mark.parametrize(
    "more", [{"selector": "role=edge"}, {"labels": {"team": "web"}}, {"description": "of the edge"}]
)
async def test_what_touches_no_engine_makes_a_revision_of_the_same_generation(
    rules: Rules, more: dict[str, Any]
) -> None:
    await rules.apply(manifest())
    (change,) = await rules.apply(replace(manifest(), **more))
    assert (change.action, change.revision, change.generation) == (Action.UPDATED, 2, 1)


async def test_other_content_makes_a_new_generation(rules: Rules) -> None:
    await rules.apply(manifest(), manifest("other"))
    (change,) = await rules.apply(manifest(tag="u"))
    assert (change.revision, change.generation) == (2, 3)
    (change,) = await rules.apply(manifest(tag="u", files=(File(name="parsers.conf", content=b""),)))
    assert (change.revision, change.generation) == (3, 4)


async def test_delete_and_create_again_goes_on_counting(rules: Rules) -> None:
    await rules.apply(manifest())
    (change,) = await delete(rules, "edge")
    assert (change.action, change.revision, change.generation) == (Action.DELETED, 2, 2)
    (change,) = await rules.apply(manifest())
    assert (change.action, change.revision, change.generation) == (Action.CREATED, 3, 3)


async def test_many_manifests_are_all_or_nothing(rules: Rules) -> None:
    with pytest.raises(InvalidError, match="'Bad Name'"):
        await rules.apply(manifest("good"), manifest("Bad Name"))
    await rules.follow()
    assert rules.view.pipelines == {}


async def test_rollback_is_a_new_revision_and_generation_with_old_content(rules: Rules) -> None:
    await rules.apply(manifest(tag="one"))
    await rules.apply(manifest(tag="two", selector="role=edge"))
    change = await rollback(rules, "edge")
    assert (change.revision, change.generation) == (3, 3)
    pipeline = await rules.fleet.queries.pipeline(api.GetPipelineRequest(name="edge"))
    assert "one" in pipeline.manifest.config
    assert pipeline.manifest.selector == "*"
    revisions = await rules.fleet.queries.revisions(api.ListRevisionsRequest(name="edge"))
    assert [(r.number, r.author, r.reason) for r in revisions] == [
        (3, "ann", "rollback to revision 1"),
        (2, "ann", ""),
        (1, "ann", ""),
    ]


async def test_rollback_brings_back_what_was_deleted(rules: Rules) -> None:
    await rules.apply(manifest())
    await delete(rules, "edge")
    change = await rollback(rules, "edge")
    assert (change.action, change.revision) == (Action.CREATED, 3)


@pytest.mark.parametrize(
    ("name", "to", "message"),
    [
        ("edge", 9, "has no revision 9; it is at 3"),
        ("edge", 2, "was deleted by revision 2"),
        ("egde", 0, "there is no pipeline 'egde'"),
        ("new", 0, "has no revision before 1"),
    ],
)
async def test_rollback_to_nowhere_says_why(rules: Rules, name: str, to: int, message: str) -> None:
    await rules.apply(manifest(), manifest("new"))
    await delete(rules, "edge")
    await rules.apply(manifest())
    with pytest.raises(NotFoundError, match=message):
        await rollback(rules, name, to)


async def test_if_revision_refuses_what_changed_meanwhile(rules: Rules) -> None:
    await rules.apply(manifest(), if_revision=0)
    with pytest.raises(ConflictError, match="is at revision 1, it was expected not to exist"):
        await rules.apply(manifest(tag="u"), if_revision=0)
    with pytest.raises(ConflictError, match="is at revision 1, revision 7 was expected"):
        await rules.apply(manifest(tag="u"), if_revision=7)
    await rules.apply(manifest(tag="u"), if_revision=1)


async def test_prune_deletes_what_has_the_labels_and_is_not_given(rules: Rules) -> None:
    web = {"team": "web"}
    await rules.apply(manifest("a", labels=web), manifest("b", labels=web), manifest("c"))
    changes = await rules.apply(manifest("a", labels=web), prune="team=web")
    assert [(change.pipeline, change.action) for change in changes] == [
        ("a", Action.UNCHANGED),
        ("b", Action.DELETED),
    ]


async def test_a_dry_run_tells_and_changes_nothing(rules: Rules) -> None:
    await rules.enroll(role="edge")
    changes = await rules.apply(manifest("a", "role=edge"), manifest("b", "role=core"), dry_run=True)
    assert [(c.pipeline, c.action, c.revision, c.generation, c.agents, c.gained) for c in changes] == [
        ("a", Action.CREATED, 1, 1, 1, 1),
        ("b", Action.CREATED, 1, 2, 0, 0),
    ]
    await rules.follow()
    assert rules.view.pipelines == {}


async def test_a_change_shows_whom_it_touches(rules: Rules) -> None:
    for name in ("a", "b"):
        await rules.enroll(name, role="edge", zone=name)
    (change,) = await rules.apply(manifest(selector="role=edge"))
    assert (change.agents, change.gained, change.lost) == (2, 2, 0)
    (change,) = await rules.apply(manifest(selector="zone=a"))
    assert (change.agents, change.gained, change.lost) == (1, 0, 1)
    (change,) = await delete(rules, "edge")
    assert change.lost == 1


async def test_a_deletion_that_reaches_too_far_is_refused_and_nothing_of_it_is_kept(rules: Rules) -> None:
    for number in range(7):
        await rules.enroll(f"a{number}")
    await rules.apply(manifest(), manifest("other", "zone=z"))
    with pytest.raises(ConfirmError, match="7 of 7 agents"):
        await delete(rules, "edge", "other")
    await rules.follow()
    assert not rules.view.pipelines["other"].row.deleted
    assert rules.view.plane.generation == 2
    await delete(rules, "edge", confirm=7)


async def test_an_agent_that_loses_one_pipeline_of_several_counts_once(rules: Rules) -> None:
    for number in range(6):
        await rules.enroll(f"a{number}")
    await rules.apply(manifest("a"), manifest("b"))
    with pytest.raises(ConfirmError) as caught:
        await delete(rules, "a", "b")
    assert caught.value.confirm == 6


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"name": "Edge"}, "did you mean 'edge'"),
        ({"selector": ""}, "pipeline 'edge': selector '', column 1: it is empty"),
        ({"selector": "role=("}, "pipeline 'edge': selector 'role=\\(', column 6"),
        ({"selector": "role=="}, None),
        ({"labels": {"a b": "c"}}, "labels: label key 'a b'"),
        ({"config": "  "}, "its configuration is empty"),
        (
            {"secrets": (SecretReference(name="db", env="DB"),)},
            "secret 'db' does not exist; make it by",
        ),
        ({"files": (File(name="../x"),)}, "file name '../x'"),
        ({"files": (File(name="/etc/passwd"),)}, "relative path"),
        ({"files": (File(name="a//b"),)}, "relative path"),
        ({"files": (File(name="a\\b"),)}, "relative path"),
        ({"files": (File(name="a"), File(name="a"))}, "given 2 times"),
        ({"config": "x" * (DEFAULT_LIMITS.configuration + 1)}, "the limit is 1048576"),
        ({"files": (File(name="a", content=b"x" * (DEFAULT_LIMITS.file + 1)),)}, "file 'a' has 8388609 bytes"),
    ],
)
async def test_what_cannot_be_a_pipeline_is_refused_by_name(
    rules: Rules, bad: dict[str, Any], message: str | None
) -> None:
    if message is None:
        await rules.apply(replace(manifest(), **bad))
        return
    with pytest.raises(InvalidError, match=message):
        await rules.apply(replace(manifest(), **bad))


async def test_every_fault_of_a_configuration_is_listed_with_its_place(rules: Rules) -> None:
    with pytest.raises(InvalidError) as caught:
        await rules.apply(replace(manifest(), config="pipeline:\n  inputs:\n    - tag: x\n  outpts: []\n"))
    places = [(fault.file, fault.line) for fault in caught.value.faults]
    assert len(places) >= 2
    assert all(file == "edge" and line for file, line in places)
    assert "nothing is changed" in caught.value.message


async def test_the_same_pipeline_twice_in_one_request_is_refused(rules: Rules) -> None:
    with pytest.raises(InvalidError, match="given 2 times"):
        await rules.apply(manifest(), manifest(tag="u"))


async def test_too_many_bytes_of_reason_are_refused(rules: Rules) -> None:
    with pytest.raises(LimitError):
        await rules.apply(manifest(), reason="x" * 5000)


async def test_deleting_what_is_not_there_suggests_what_is(rules: Rules) -> None:
    await rules.apply(manifest())
    with pytest.raises(NotFoundError, match="did you mean 'edge'"):
        await delete(rules, "egde")


async def test_revisions_are_kept_as_they_were_and_say_who_and_why(rules: Rules) -> None:
    await rules.apply(manifest(labels={"v": "1"}), reason="first")
    await rules.apply(manifest(labels={"v": "2"}), reason="second")
    async with rules.store.read() as reader:
        rows = await reader.find(RevisionRow, pipeline="edge")
    assert [(row.number, row.author, row.reason, dict(row.labels), row.at) for row in rows] == [
        (1, "ann", "first", {"v": "1"}, rules.clock.now()),
        (2, "ann", "second", {"v": "2"}, rules.clock.now()),
    ]
