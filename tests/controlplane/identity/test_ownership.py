"""Which process owns a session, as a table and as stories."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlplane.identity.ownership import Claim, Verdict, granted, judge, released
from controlplane.model import SessionRow

NOW = datetime(2026, 1, 1, tzinfo=UTC)
LATER, EARLIER = NOW + timedelta(seconds=60), NOW - timedelta(seconds=1)


def claim(boot: str, number: int = 1) -> Claim:
    return Claim(agent_id="a", session_id=f"s-{boot}-{number}", boot_id=boot, session_number=number, replica="r")


def owner(boot: str, number: int = 1, *, lease: datetime = LATER, superseded: tuple[str, ...] = ()) -> SessionRow:
    return SessionRow(
        agent_id="a",
        session_id="s",
        boot_id=boot,
        session_number=number,
        replica="r",
        lease_until=lease,
        opened_at=NOW,
        superseded=superseded,
    )


@pytest.mark.parametrize(
    ("row", "asks", "verdict"),
    [
        (None, claim("x"), Verdict.GRANTED),
        (owner("x", 4), claim("x", 5), Verdict.GRANTED),
        (owner("x", 4), claim("x", 4), Verdict.STALE),
        (owner("x", 4), claim("x", 3), Verdict.STALE),
        (owner("x", 4, lease=EARLIER), claim("x", 3), Verdict.STALE),
        (owner("x"), claim("y"), Verdict.GRANTED),
        (owner("y", superseded=("x",)), claim("x", 9), Verdict.DUPLICATE),
        (owner("y", superseded=("x", "z")), claim("w"), Verdict.GRANTED),
        (owner("y", lease=EARLIER, superseded=("x",)), claim("x", 9), Verdict.GRANTED),
        (owner("y", lease=NOW, superseded=("x",)), claim("x", 9), Verdict.GRANTED),
    ],
)
def test_judgement(row: SessionRow | None, asks: Claim, verdict: Verdict) -> None:
    assert judge(row, asks, now=NOW) is verdict


def test_of_two_processes_with_one_identity_the_later_one_stays_and_the_earlier_one_alarms() -> None:
    row = granted(None, claim("first"), now=NOW, lease_until=LATER)
    row = granted(row, claim("second"), now=NOW, lease_until=LATER)
    assert judge(row, claim("first", 2), now=NOW) is Verdict.DUPLICATE
    assert judge(row, claim("second", 2), now=NOW) is Verdict.GRANTED


def test_an_earlier_process_takes_over_again_when_the_later_one_has_gone() -> None:
    row = granted(None, claim("first"), now=NOW, lease_until=LATER)
    row = granted(row, claim("second"), now=NOW, lease_until=LATER)
    row = released(row, until=NOW)
    assert judge(row, claim("first", 2), now=NOW) is Verdict.GRANTED
    row = granted(row, claim("first", 2), now=NOW, lease_until=LATER)
    assert row.superseded == ("second",)


@given(st.lists(st.sampled_from("abcdefghijklmnop"), max_size=40))
def test_memory_of_replaced_processes_is_bounded_and_never_holds_the_owner(boots: list[str]) -> None:
    row: SessionRow | None = None
    for number, boot in enumerate(boots, start=1):
        row = granted(row, claim(boot, number), now=NOW, lease_until=LATER)
        assert len(row.superseded) <= 8
        assert row.boot_id not in row.superseded
        assert len(set(row.superseded)) == len(row.superseded)
