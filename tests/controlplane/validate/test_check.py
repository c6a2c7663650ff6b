"""The rules together: whatever comes in, whoever is asked first, and pipelines that people really have."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

import headrace.cli
from agent.engine.registry import discover
from agent.engine.schema import schema
from controlplane.validate import Findings, FleetFacts, check
from headrace.api import Manifest
from headrace.types import Engine, EngineInfo, File, SecretReference
from tests.controlplane.validate.fleet import CATALOGUES, OURS, REAL, agent, facts, inputs, manifest

EXAMPLES = sorted((Path(__file__).parents[3] / "examples").glob("*/pipeline.yaml"))
EXAMPLES.append(Path(headrace.cli.__file__).with_name("demo.yaml"))

WORDS = st.sampled_from(
    [
        *("pipeline:", "inputs:", "outputs:", "filters:", "service:", "env:", "parsers:", "includes:", "processors:"),
        *("- name: tail", "- name: dummy", "name: file", "match: '*'", "tag: ${A}", "port: 5170", "db: x", "[INPUT]"),
        *(
            "    Name tcp",
            "@SET a=b",
            "@INCLUDE *",
            "rule: $a b c d",
            "{",
            "}",
            "[",
            "]",
            ":",
            "\n",
            "  ",
            "    ",
            "&a",
        ),
    ]
)
TEXTS = st.one_of(st.text(max_size=200), st.lists(WORDS, max_size=30).map("\n".join), st.lists(WORDS).map(" ".join))
JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["inputs", "name", "options"]), inner),
    max_leaves=10,
)
MANIFESTS = st.builds(
    Manifest,
    name=st.text(max_size=10),
    labels=st.dictionaries(st.text(max_size=5), st.text(max_size=5), max_size=2),
    selector=st.one_of(st.just("*"), st.text(max_size=20)),
    engine=st.sampled_from(Engine),
    config=TEXTS,
    files=st.lists(
        st.builds(File, name=st.one_of(st.just("parsers.conf"), st.text(max_size=10)), content=st.binary(max_size=50)),
        max_size=3,
    ).map(tuple),
    secrets=st.lists(st.builds(SecretReference, name=st.text(max_size=3)), max_size=1).map(tuple),
)


@given(MANIFESTS, MANIFESTS, JSON)
def test_nothing_that_comes_in_raises(one: Manifest, two: Manifest, catalogue: Any) -> None:
    fleet = FleetFacts(
        agents=(agent("a", REAL, role="edge"), agent("b", OURS)),
        catalogues={"c-fluent-bit": catalogue, "c-embedded": CATALOGUES["c-embedded"]},
        pipelines={"other": two},
    )
    check([one], fleet)


@given(st.lists(st.sampled_from(["name: tail", "name: tcp", "name: grpe, port: x", "tag: ${X}", "db: /x"]), max_size=6))
def test_whatever_is_found_is_found_in_any_order_of_the_agents(sections: list[str]) -> None:
    pipelines = {"other": manifest(inputs("name: tcp", "name: tail, path: x, db: /x"), "other", selector="n")}
    agents = [
        agent(f"a{number}", *((REAL,), (OURS,), (REAL, OURS))[number % 3], **({"n": str(number)} if number % 2 else {}))
        for number in range(9)
    ]
    variables = {"id-a3": {"X": "1"}, "id-a4": {"XY": "2"}}
    tried = manifest(inputs(*sections) if sections else "pipeline: {}\n")
    found: list[Findings] = []
    for seed in range(3):
        random.Random(seed).shuffle(agents)
        found.append(check([tried], facts(*agents, pipelines=pipelines, variables=variables))["edge"])
    assert found[0] == found[1] == found[2]


def test_a_text_that_is_wrong_all_over_is_not_listed_without_end() -> None:
    config = inputs(*(f"name: dummy, tag: t{number}, nonsense: x" for number in range(800)))
    faults = check([manifest(config)], facts())["edge"].faults
    assert len(faults) == 501
    assert "there may be more than these 500 faults" in faults[0].message


def test_a_long_text_is_not_repeated_whole() -> None:
    fault = check([manifest(inputs(f"name: {'x' * 20_000}"))], facts())["edge"].faults[0]
    assert len(str(fault)) < 1200


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_the_examples_are_valid_on_the_embedded_engine(path: Path) -> None:
    discover()
    engine = EngineInfo(engine=Engine.EMBEDDED, catalogue_sha256="own")
    local = agent("a", engine, role="local")
    fleet = FleetFacts(agents=(local,), catalogues={"own": schema()}, variables={local.id: {"DEMO_DIR": "/demo"}})
    for document in yaml.safe_load_all(path.read_text()):
        spec = document["spec"]
        config = spec.get("config") or (path.parent / spec["configFile"]).read_text()
        files = tuple(
            File(
                name=name,
                content=(path.parent / each["path"]).read_bytes() if "path" in each else each["content"].encode(),
            )
            for name, each in spec.get("files", {}).items()
        )
        found = Manifest(name=document["metadata"]["name"], selector=spec["selector"], config=config, files=files)
        assert check([found], fleet)[found.name].faults == ()
