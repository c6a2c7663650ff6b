"""What can be read, and what is said about what cannot."""

from __future__ import annotations

from controlplane.validate import check
from tests.controlplane.validate.fleet import errors, facts, inputs, manifest, said


def test_syntax_faults_have_line_and_column() -> None:
    found = check([manifest("pipeline:\n  inputs:\n    - tag: x\n  outpts: []\n")], facts())["edge"].faults
    assert [(fault.file, fault.line) for fault in found] == [("edge", 3), ("edge", 4)]
    assert all(fault.column for fault in found)
    assert "did you mean 'outputs'" in found[1].message


def test_classic_is_read_as_well() -> None:
    text = "[INPUT]\n    Name dummy\n    Ratee 5\n[OUTPUT]\n    Name null\n    Match *\n"
    assert errors(manifest(text)) == [
        "edge:3:5: property 'ratee' of input 'dummy' is not known to agent 'a'; did you mean 'rate'?"
    ]


def test_what_is_included_must_come_along() -> None:
    text = "includes: [more.yaml]\n" + inputs("name: dummy, tag: t")
    assert errors(manifest(text))
    assert said(manifest(text, files={"more.yaml": "pipeline:\n  inputs: [{name: dummy, tag: u}]\n"})) == []


def test_a_fault_in_an_included_file_is_at_its_place_there() -> None:
    more = "pipeline:\n  inputs:\n    - {name: dumy, tag: u}\n"
    text = "includes: [more.yaml]\n" + inputs("name: dummy, tag: t")
    (found,) = errors(manifest(text, files={"more.yaml": more}))
    assert found.startswith("more.yaml:3:")
