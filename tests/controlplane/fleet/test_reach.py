"""Which pipelines a change has beside it."""

from __future__ import annotations

from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from controlplane.fleet.reach import beside, pruned
from controlplane.model import AgentRow, PipelineRow
from controlplane.view import AgentView, PipelineView, View
from headrace import selector
from headrace.types import AgentState, Engine, Facts

AT = datetime(2026, 11, 22, tzinfo=UTC)
SELECTORS = ["*", "a=1", "a in (1,2)", "a!=1", "!b", "b", "a=1,b!=2", "b notin (1),a in (2,3)", "a=9"]


def pipeline(name: str, chosen: str, *, deleted: bool = False) -> PipelineView:
    row = PipelineRow(
        name=name,
        revision=1,
        generation=1,
        sha256="",
        engine=Engine.AUTO,
        selector=chosen,
        labels={"n": name},
        deleted=deleted,
        created_at=AT,
        updated_at=AT,
    )
    return PipelineView(row, selector.parse(chosen), b"", b"")


def agent(labels: dict[str, str]) -> AgentView:
    row = AgentRow(
        id="a",
        name="a",
        state=AgentState.CONNECTED,
        facts=Facts(name="a", version="0", labels=labels),
        credential_hash="",
        enrolled_at=AT,
        state_since=AT,
    )
    return AgentView(row, labels, "")


@given(
    st.lists(st.tuples(st.sampled_from(SELECTORS), st.booleans())),
    st.lists(st.dictionaries(st.sampled_from("ab"), st.sampled_from("123"))),
)
def test_those_beside_are_those_that_match_any_of_the_agents(
    pipelines: list[tuple[str, bool]], labels: list[dict[str, str]]
) -> None:
    view = View()
    view.pipelines = {
        f"p{number}": pipeline(f"p{number}", chosen, deleted=deleted)
        for number, (chosen, deleted) in enumerate(pipelines)
    }
    found = {row.name for row in beside(view, [agent(each) for each in labels], without={"p1"})}
    assert found == {
        f"p{number}"
        for number, (chosen, deleted) in enumerate(pipelines)
        if number != 1 and not deleted and any(selector.parse(chosen).matches(each) for each in labels)
    }


def test_a_prune_takes_what_has_the_labels_and_is_neither_kept_nor_deleted() -> None:
    view = View()
    view.pipelines = {name: pipeline(name, "*", deleted=name == "d") for name in "cabd"}
    assert pruned(view, selector.parse("n in (a,b,d)"), kept={"b"}) == ["a"]
