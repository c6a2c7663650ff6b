"""What is known of a content before an engine sees it."""

from __future__ import annotations

import pytest

from agent.policy import Policy
from agent.preparation import Prepared, prepare
from headrace.content import Content
from headrace.types import Engine, EngineInfo, File

ENGINE = EngineInfo(engine=Engine.EMBEDDED, version="1")
CONFIG = "pipeline:\n  inputs:\n    - name: dummy\n      tag: ${TAG:-x}\n"


def prepared(config: str = CONFIG, **changes: object) -> Prepared:
    files = changes.pop("files", ())
    arguments: dict[str, object] = {
        "known": {},
        "engine": ENGINE,
        "policy": Policy(),
        "folder": "/w/p",
        "version": "0.1",
    }
    content = Content(engine=Engine.AUTO, config=config, files=files)  # type: ignore[arg-type]
    return prepare(content, **(arguments | changes))  # type: ignore[arg-type]


def test_a_good_content_has_no_faults() -> None:
    got = prepared()
    assert (got.render_faults, got.faults) == ((), ())
    assert got.expanded is not None
    assert got.expanded.inputs[0].get("tag") == "x"


@pytest.mark.parametrize(
    "changes",
    [
        {"known": {"TAG": "y"}},
        {"engine": EngineInfo(engine=Engine.EMBEDDED, version="2")},
        {"engine": EngineInfo(engine=Engine.FLUENT_BIT, version="1")},
        {"engine": None},
        {"policy": Policy(deny_plugins=("x",))},
        {"version": "0.2"},
    ],
)
def test_the_basis_is_another_when_the_outcome_may_be(changes: dict[str, object]) -> None:
    assert prepared(**changes).basis != prepared().basis


@pytest.mark.parametrize("changes", [{"known": {"OTHER": "y"}}, {"folder": "/elsewhere"}])
def test_the_basis_is_the_same_when_it_cannot_matter(changes: dict[str, object]) -> None:
    assert prepared(**changes).basis == prepared().basis


def test_a_configuration_that_cannot_be_read_tells_every_fault_with_its_place() -> None:
    got = prepared("pipelin:\n  inputs: []\npipeline:\n  inputs:\n    - tag: x\n")
    assert got.document is None
    assert [(fault.file, fault.line) for fault in got.render_faults] == [("pipeline", 1), ("pipeline", 5)]


def test_an_engine_that_is_not_here_is_named() -> None:
    assert [fault.message for fault in prepared(engine=None).faults] == [
        "engine 'auto' is not on this host; install it, or use engine auto"
    ]


def test_an_include_is_one_of_the_files_that_came_along() -> None:
    files = (File(name="conf/a.yaml", content=b"pipeline:\n  inputs:\n    - name: dummy\n"),)
    got = prepared("includes:\n  - conf/*.yaml\n", files=files)
    assert got.render_faults == ()
    assert got.document is not None
    assert len(got.document.inputs) == 1
    assert "no such file" in prepared("includes:\n  - /etc/passwd\n").render_faults[0].message


@pytest.mark.parametrize(("grace", "seconds"), [("", 5.0), ("  grace: 30\n", 30.0), ("  grace: soon\n", 5.0)])
def test_the_grace_is_what_the_pipeline_asks_for(grace: str, seconds: float) -> None:
    assert prepared(f"service:\n  flush: 1\n{grace}{CONFIG}").grace == seconds
