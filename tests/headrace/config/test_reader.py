"""Which format a text is in, what it includes, and that every fault is told at once."""

import pytest

from headrace.config import ConfigError, Document, detect, parse
from headrace.config.draft import MAX_FAULTS, MAX_INCLUDE_DEPTH, MAX_MESSAGE


def faults_of(text: str, file: str = "f", **options: object) -> list[str]:
    with pytest.raises(ConfigError) as raised:
        parse(text, file=file, **options)
    assert str(raised.value) == "\n".join(str(fault) for fault in raised.value.faults)
    return [str(fault) for fault in raised.value.faults]


def reader(**files: str):
    """A reader over files whose names end in _yaml or _conf for want of dots."""
    named = {name.replace("_yaml", ".yaml").replace("_conf", ".conf"): text for name, text in files.items()}

    def read(pattern: str) -> dict[str, str]:
        stem, star, end = pattern.partition("*")
        return {
            name: text
            for name, text in named.items()
            if name == pattern or (star and name.startswith(stem) and name.endswith(end))
        }

    return read


@pytest.mark.parametrize(
    ("text", "file", "format"),
    [
        ("[SERVICE]\n    flush 1\n", "a.yaml", "classic"),
        ("# comment\n\n  [input]\n", "a.yaml", "classic"),
        ("@INCLUDE a.conf\n", "a.yaml", "classic"),
        ("@set a=b\n", "a.yaml", "classic"),
        ("[INPUT\n    name x\n", "a.yaml", "classic"),
        ("service:\n  flush: 1\n", "a.conf", "yaml"),
        ("# [INPUT]\nservice: {}\n", "a.conf", "yaml"),
        ("---\nservice: {}\n", "a", "yaml"),
        ('{"service": {}}', "a", "yaml"),
        ("\ufeffservice: {}", "a", "yaml"),
        ("", "a.conf", "classic"),
        ("", "a.yaml", "yaml"),
        ("name dummy\n", "a.conf", "classic"),
    ],
)
def test_the_format_is_told_by_the_content_and_by_the_name_where_that_is_open(text: str, file: str, format: str):
    assert detect(text, file) == format


@pytest.mark.parametrize("format", ["yaml", "classic"])
@pytest.mark.parametrize("text", ["", "\n\n", "# nothing\n"])
def test_an_empty_text_is_an_empty_document(text: str, format: str):
    assert parse(text, format=format) == Document(format="yaml")


def test_the_format_can_be_said_instead_of_detected():
    assert faults_of("[INPUT]\n    name x\n", format="yaml")
    assert faults_of("service: {}\n", format="classic")


def test_included_files_add_to_the_document_and_are_listed():
    main = "includes:\n  - parts/*.yaml\nservice: {flush: 1}\npipeline: {inputs: [{name: dummy}]}\n"
    document = parse(
        main,
        file="main.yaml",
        read=lambda pattern: {
            "parts/b.yaml": "pipeline: {inputs: [{name: tail}]}",
            "parts/a.yaml": "pipeline: {inputs: [{name: stdin}]}",
        },
    )
    assert [section.name for section in document.inputs] == ["stdin", "tail", "dummy"]
    assert document.includes == ("parts/a.yaml", "parts/b.yaml")
    assert document.inputs[1].position.file == "parts/b.yaml"


def test_yaml_includes_are_relative_to_the_file_that_has_them():
    asked = []

    def read(pattern: str) -> dict[str, str]:
        asked.append(pattern)
        return {pattern: "includes: [../c.yaml, /d.yaml]" if pattern.endswith("b.yaml") else ""}

    parse("includes: [sub/b.yaml]", file="etc/main.yaml", read=read)
    assert asked == ["etc/sub/b.yaml", "etc/sub/../c.yaml", "/d.yaml"]


def test_classic_includes_are_relative_to_the_main_file():
    asked = []

    def read(pattern: str) -> dict[str, str]:
        asked.append(pattern)
        return {pattern: "@INCLUDE c.conf\n" if pattern.endswith("b.conf") else ""}

    parse("@INCLUDE sub/b.conf\n", file="etc/main.conf", read=read)
    assert asked == ["etc/sub/b.conf", "etc/c.conf"]


def test_a_section_goes_on_after_an_include_in_its_middle():
    main = "[INPUT]\n    name a\n@INCLUDE b.conf\n    tag t\n"
    document = parse(main, read=reader(b_conf="[INPUT]\n    name b\n"))
    assert [(section.name, section.get("tag")) for section in document.inputs] == [("a", "t"), ("b", None)]


def test_an_include_overrides_the_service_keys_before_it_and_yields_to_those_after_it():
    main = "[SERVICE]\n    flush 1\n    grace 1\n@INCLUDE b.conf\n    grace 3\n"
    service = parse(main, read=reader(b_conf="[SERVICE]\n    flush 2\n    grace 2\n")).service
    assert service is not None
    assert (service.get("flush"), service.get("grace")) == ("2", "3")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("includes:\n  - b.yaml\n", "f:2:5: cannot include 'b.yaml': no other files are given here"),
        ("@INCLUDE b.conf\n", "f:1:1: cannot include 'b.conf': no other files are given here"),
    ],
)
def test_without_a_reader_an_include_is_refused_by_name(text: str, expected: str):
    assert faults_of(text) == [expected]


def test_an_include_that_matches_nothing_is_a_fault():
    assert faults_of("includes: [no/*.yaml]", read=reader()) == ["f:1:12: cannot include 'no/*.yaml': no such file"]


def test_a_cycle_of_includes_is_a_fault():
    read = reader(a_yaml="includes: [b.yaml]", b_yaml="includes:\n- a.yaml\n")
    assert faults_of("includes: [b.yaml]", file="a.yaml", read=read) == [
        "b.yaml:2:3: cannot include 'a.yaml' again: each file can be read once (is this a cycle?)"
    ]
    read = reader(a_conf="@INCLUDE a.conf\n")
    assert faults_of("@INCLUDE a.conf\n", file="a.conf", read=read) == [
        "a.conf:1:1: cannot include 'a.conf' again: each file can be read once (is this a cycle?)"
    ]


def test_includes_that_never_end_are_cut():
    def read(pattern: str) -> dict[str, str]:
        return {pattern: f"includes: [{pattern}x]"}

    (fault,) = faults_of("includes: [a]", read=read)
    assert fault.endswith(f"includes are nested deeper than {MAX_INCLUDE_DEPTH}")


def test_faults_in_an_included_file_name_that_file():
    read = reader(b_yaml="pipeline:\n  inputs:\n    - tag: x\n")
    assert faults_of("includes: [b.yaml]\nservic: {}", read=read) == [
        "f:2:1: 'servic' is no section of a configuration; did you mean 'service'?",
        "b.yaml:3:7: this input has no 'name'; say which plugin it is",
    ]


def test_a_flood_of_faults_is_bounded():
    faults = faults_of("".join(f"x{n}: 1\n" for n in range(5 * MAX_FAULTS)))
    assert len(faults) == MAX_FAULTS + 1
    assert faults[-1] == f"f:{MAX_FAULTS + 1}:1: more than {MAX_FAULTS} faults; the rest is not listed"


def test_a_fault_about_a_long_text_is_short_and_keeps_its_advice():
    (fault,) = faults_of(f"{'x' * 1_000}: 1\n")
    assert len(fault) < MAX_MESSAGE + 20
    assert fault.endswith("stream_processor, extensions")


@pytest.mark.parametrize("format", ["yaml", "classic"])
@pytest.mark.parametrize(("character", "code"), [("\0", "0000"), ("\x1b", "001B"), ("\ud800", "D800")])
def test_a_character_that_is_no_text_is_shown_with_its_place(format: str, character: str, code: str):
    expected = [f"f:2:4: control character U+{code}; is this a text file in UTF-8?"]
    assert faults_of(f"# a\n# b{character}c\n", format=format) == expected
