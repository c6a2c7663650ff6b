"""What people write on the command line, in the parser's form; durations; and the table of exit codes."""

from __future__ import annotations

import pytest
import typer

from headrace import errors
from headrace.cli import durations
from headrace.cli.arguments import normalise
from headrace.cli.exits import EXIT_BY_CODE, Exit, complain, exit_of
from headrace.types import Fault, Severity


@pytest.mark.parametrize(
    ("written", "taken"),
    [
        ("apply -f x --wait", "apply -f x --wait"),
        ("rollback nginx --wait=good", "rollback nginx --wait-for=good"),
        ("get agents --server h:1 -o json", "--server h:1 get agents -o json"),
        ("get agents --server=h:1", "--server=h:1 get agents"),
        ("get agents --debug", "--debug get agents"),
        ("--server m:1 cluster bootstrap --server h:1", "--server m:1 cluster bootstrap --server h:1"),
        ("cluster bootstrap --server=h:1 --insecure", "--insecure cluster bootstrap --server=h:1"),
        ("get agents --server", "--server get agents"),
        ("logs a -- --server --wait=good", "logs a -- --server --wait=good"),
        ("", ""),
    ],
)
def test_arguments_are_brought_into_the_parsers_form(written: str, taken: str) -> None:
    assert normalise(written.split()) == taken.split()


@pytest.mark.parametrize(
    ("text", "value"),
    [("90", 90), ("90s", 90), ("5m", 300), ("1h30m", 5400), ("0.5s", 0.5), ("250ms", 0.25), ("2d", 172800)],
)
def test_a_duration_is_in_seconds(text: str, value: float) -> None:
    assert durations.seconds(text, "--timeout") == value


@pytest.mark.parametrize("text", ["", "soon", "5 m", "m", "-5s", "5x", "1h-30m"])
def test_what_is_no_duration_is_a_usage_error(text: str) -> None:
    with pytest.raises(typer.BadParameter, match="is not a duration"):
        durations.seconds(text, "--timeout")


def _all_errors(cls: type[errors.HeadraceError] = errors.HeadraceError) -> list[type[errors.HeadraceError]]:
    return [cls, *(found for sub in cls.__subclasses__() for found in _all_errors(sub))]


def test_every_error_has_its_exit_code() -> None:
    assert {error.code for error in _all_errors()} == set(EXIT_BY_CODE)
    assert exit_of(errors.NotFoundError("x")) is Exit.NOT_FOUND
    assert exit_of(errors.UnavailableError("x")) is Exit.UNREACHABLE
    assert exit_of(errors.DeadlineError("x")) is Exit.TIMED_OUT


def test_a_complaint_names_every_finding_once(capsys: pytest.CaptureFixture[str]) -> None:
    faults = [
        Fault(message="one", file="p.yaml", line=3, column=1),
        Fault(message="two", severity=Severity.WARNING),
    ]
    for message in ("refused for 2 reasons", "refused for 2 reasons: p.yaml:3:1: one (and 1 more)"):
        complain(errors.InvalidError(message, faults=faults))
        assert capsys.readouterr() == ("", "error: refused for 2 reasons\n  p.yaml:3:1: one\n  warning: two\n")
