"""What an engine's log says went wrong."""

from __future__ import annotations

import pytest

from agent.runtimes.log_lines import MAX_FAULTS, faults_in, is_environment
from headrace.types import Fault

WHEN = "[2026/11/22 10:00:00.123456789] "


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        (
            "[error] [config] section 'dumy' tried to instance a plugin name that doesn't exist",
            Fault(message="[config] section 'dumy' tried to instance a plugin name that doesn't exist", plugin="dumy"),
        ),
        (
            "[error] [config] dummy: unknown configuration property 'ratee'. "
            "The following properties are allowed: rate.",
            Fault(
                message="[config] dummy: unknown configuration property 'ratee'. "
                "The following properties are allowed: rate.",
                plugin="dummy",
                property="ratee",
            ),
        ),
        (
            "[error] [filter:lua:lua.0] cannot access script '/nonexist.lua'",
            Fault(message="[filter:lua:lua.0] cannot access script '/nonexist.lua'", plugin="lua"),
        ),
        (
            "[error] [config] /w/p/rev/x/headrace.yaml:7:5: input 'tail': required property 'path' is missing",
            Fault(
                message="input 'tail': required property 'path' is missing",
                plugin="tail",
                property="path",
                file="/w/p/rev/x/headrace.yaml",
                line=7,
                column=5,
            ),
        ),
        ("[error] something else", Fault(message="something else")),
    ],
)
def test_an_error_line_is_a_fault(line: str, fault: Fault) -> None:
    expected = (
        fault
        if fault.line or "[config]" not in fault.message
        else Fault(message=fault.message.removeprefix("[config] "), plugin=fault.plugin, property=fault.property)
    )
    assert faults_in(f"{WHEN}[ info] starting\n{WHEN}{line}\n") == (expected,)
    assert faults_in(f"\x1b[1m{line}\x1b[0m") == (expected,)


def test_consequences_are_left_out_unless_they_are_all_there_is() -> None:
    cause = f"{WHEN}[error] [input:tail:tail.0] no input 'path' was given"
    consequence = f"{WHEN}[error] [engine] input initialization failed"
    assert [fault.message for fault in faults_in(f"{cause}\n{consequence}")] == [
        "[input:tail:tail.0] no input 'path' was given"
    ]
    assert [fault.message for fault in faults_in(consequence)] == ["[engine] input initialization failed"]


def test_a_repeated_error_is_told_once_and_a_flood_is_bounded() -> None:
    assert len(faults_in(f"{WHEN}[error] a\n" * 100)) == 1
    assert len(faults_in("".join(f"[error] {number}\n" for number in range(100)))) == MAX_FAULTS


def test_what_is_no_error_is_no_fault() -> None:
    assert faults_in('{"log": "[error] not a line of the engine"}\n[ warn] w\n[info] i\nTraceback\n') == ()


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ("could not bind address 0.0.0.0:5170", True),
        ("[Errno 98] Address already in use", True),
        ("write failed: No space left on device", True),
        ("no input 'path' was given", False),
        ("unknown configuration property 'ratee'", False),
    ],
)
def test_the_surroundings_are_told_from_the_configuration(message: str, expected: bool) -> None:
    assert is_environment((Fault(message=message),)) is expected
