"""A message of an agent is made to fit by leaving out words, never a truth."""

from __future__ import annotations

import dataclasses

import pytest

from headrace import codec
from headrace.client.fitting import fit
from headrace.errors import LimitError
from headrace.messages import Answer, Workloads
from headrace.types import Attempt, AttemptState, Facts, Fault, Observed

FAULTS = tuple(Fault(message="m" * 90, line=line) for line in range(1, 101))
OBSERVED = tuple(
    Observed(
        pipeline=f"p-{number}",
        desired=number + 1,
        attempt=Attempt(generation=number + 1, state=AttemptState.FAILED, faults=FAULTS, quarantined=True),
        notes=("n" * 50,) * 20,
    )
    for number in range(20)
)
MESSAGE = Workloads(observed=OBSERVED, complete=True)


def bare(observed: Observed) -> Observed:
    attempt = observed.attempt
    return dataclasses.replace(observed, attempt=attempt and dataclasses.replace(attempt, faults=()), notes=())


def test_what_fits_is_sent_as_it_is() -> None:
    assert codec.decode_agent(fit(MESSAGE, 1 << 20)) == MESSAGE


@pytest.mark.parametrize("limit", [100_000, 20_000, 5_000, 1_000])
def test_what_does_not_loses_faults_and_notes_and_keeps_every_truth(limit: int) -> None:
    data = fit(MESSAGE, limit)
    assert len(data) <= limit
    message = codec.decode_agent(data)
    assert isinstance(message, Workloads)
    assert message.complete
    assert [bare(observed) for observed in message.observed] == [bare(observed) for observed in OBSERVED]
    assert len(message.observed[0].attempt.faults) < len(FAULTS)


def test_an_answer_keeps_the_end_of_its_output() -> None:
    answer = Answer(command_id="c", ok=True, output=bytes(1000) + b"the end")
    message = codec.decode_agent(fit(answer, 200))
    assert isinstance(message, Answer)
    assert message.output.endswith(b"the end")
    assert message.ok


def test_what_cannot_be_shortened_is_a_limit_error_with_both_numbers() -> None:
    with pytest.raises(LimitError, match="Facts of 5006 bytes: the control plane takes 1000 at most"):
        fit(Facts(name="x" * 5000), 1000)
