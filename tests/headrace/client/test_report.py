"""Reports over the real channel: everything arrives once, whatever breaks, and the session is never in its way."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from headrace import codec
from headrace.client.packing import Packer
from headrace.client.report import Reports
from headrace.connection import Connection
from headrace.errors import InvalidError, UnavailableError
from headrace.messages import Command, ReportRequest, ReportResponse, Samples, Series
from headrace.testing import FakeAgent, FakeControlPlane, SeverableProxy
from headrace.types import CommandKind
from tests.processes import eventually

START = datetime(2026, 1, 1, tzinfo=UTC)
SERIES = ("fluentbit_input_records_total", (("pipeline", "p"), ("plugin", "dummy.0")))


class Memory:
    """A backlog without a disk; at most three batches are pending at a time."""

    def __init__(self) -> None:
        self.batches: list[ReportRequest] = []
        self.refused: list[int] = []
        self.last = 0
        self._arrived = asyncio.Event()

    def add(self, count: int = 1) -> None:
        for _ in range(count):
            self.last += 1
            name, tags = SERIES
            self.batches.append(
                ReportRequest(
                    sequence=self.last,
                    series=(Series(id=9, name=name, tags=dict(tags)),),
                    samples=(
                        Samples(at=START + timedelta(seconds=self.last), series=(9,), values=(float(self.last),)),
                    ),
                )
            )
        self._arrived.set()

    def pending(self) -> Sequence[ReportRequest]:
        return self.batches[:3]

    async def arrived(self) -> None:
        while not self.batches:
            self._arrived.clear()
            await self._arrived.wait()

    def acknowledge(self, sequence: int) -> None:
        self.batches = [batch for batch in self.batches if batch.sequence > sequence]

    def refuse(self, sequence: int) -> None:
        self.refused.append(sequence)
        self.batches = [batch for batch in self.batches if batch.sequence != sequence]


def expected(*sequences: int) -> dict[datetime, float]:
    return {START + timedelta(seconds=sequence): float(sequence) for sequence in sequences}


def quick() -> random.Random:
    """Waits between attempts come out short."""
    rng = random.Random(1)
    rng.uniform = lambda low, high: low + 0.01  # type: ignore[method-assign]
    return rng


async def test_what_waits_arrives_in_order_and_is_forgotten_when_it_is_stored() -> None:
    backlog = Memory()
    backlog.add(10)
    async with FakeControlPlane(metrics=True) as plane, FakeAgent(plane.address, backlog=backlog):
        numbers = await plane.until_numbers(lambda all: len(all.get(SERIES, ())) == 10)
        await eventually(lambda: not backlog.batches)
        backlog.add(2)
        await plane.until_numbers(lambda all: len(all[SERIES]) == 12)
        assert numbers[SERIES] == expected(*range(1, 13))
        assert [request.sequence for request in plane.reports][:4] == [3, 6, 9, 10]
        assert len(plane.sessions) == 1


async def test_nothing_is_reported_to_a_plane_that_has_no_store() -> None:
    backlog = Memory()
    backlog.add()
    async with FakeControlPlane() as plane, FakeAgent(plane.address, backlog=backlog):
        await plane.until_connected()
        assert (await plane.command(Command(id="1", kind=CommandKind.RETRY))).ok
        assert plane.reports == []
    assert len(backlog.batches) == 1


async def test_a_plane_that_stores_nothing_is_asked_again_when_it_says_so() -> None:
    backlog = Memory()
    backlog.add(5)
    async with FakeControlPlane(metrics=True) as plane, FakeAgent(plane.address, backlog=backlog, rng=quick()):
        plane.retry_reports_ms = 20
        await eventually(lambda: len(plane.reports) >= 3)
        assert {request.sequence for request in plane.reports} == {3}
        assert len(backlog.batches) == 5
        plane.retry_reports_ms = 0
        numbers = await plane.until_numbers(lambda all: len(all.get(SERIES, ())) == 5)
        assert numbers[SERIES] == expected(*range(1, 6))


async def test_a_cut_line_loses_and_doubles_nothing() -> None:
    backlog = Memory()
    async with FakeControlPlane(metrics=True) as plane, SeverableProxy(plane.address) as proxy:
        async with FakeAgent(proxy.address, backlog=backlog, rng=quick()) as agent:
            for cut in range(3):
                backlog.add(5)
                await plane.until_numbers(lambda all, cut=cut: len(all.get(SERIES, ())) > 10 * cut)
                proxy.sever()
                await agent.until(lambda agent: not agent.state.connected)
                backlog.add(5)
                proxy.mend()
                await plane.until_numbers(lambda all, cut=cut: len(all[SERIES]) == 10 * cut + 10, timeout=30)
            await eventually(lambda: not backlog.batches)
    assert plane.numbers()[SERIES] == expected(*range(1, 31))


class Failing(FakeControlPlane):
    """Fails the first reports, or always those that hold a certain point."""

    failures = 0
    poison = 0.0

    async def report(self, agent_id: str, request: ReportRequest) -> ReportResponse:
        if self.failures:
            self.failures -= 1
            raise UnavailableError("the metric store is away")
        if any(self.poison in samples.values for samples in request.samples):
            raise InvalidError(f"no series has the value {self.poison}")
        return await super().report(agent_id, request)


async def test_a_stream_that_fails_is_opened_again_and_the_session_goes_on() -> None:
    backlog = Memory()
    backlog.add(4)
    async with Failing(metrics=True) as plane, FakeAgent(plane.address, backlog=backlog, rng=quick()):
        plane.failures = 3
        numbers = await plane.until_numbers(lambda all: len(all.get(SERIES, ())) == 4)
        assert numbers[SERIES] == expected(1, 2, 3, 4)
        assert len(plane.sessions) == 1
        assert plane.farewells == []


async def test_a_batch_that_is_refused_holds_up_no_other() -> None:
    backlog = Memory()
    backlog.add(8)
    async with Failing(metrics=True) as plane, FakeAgent(plane.address, backlog=backlog, rng=quick()):
        plane.poison = 5.0
        numbers = await plane.until_numbers(lambda all: len(all.get(SERIES, ())) == 7)
        assert numbers[SERIES] == expected(1, 2, 3, 4, 6, 7, 8)
    assert backlog.refused == [5]


async def test_a_move_to_another_session_takes_the_reports_along() -> None:
    backlog = Memory()
    async with FakeControlPlane(metrics=True) as plane, FakeAgent(plane.address, backlog=backlog):
        backlog.add(3)
        await plane.until_numbers(lambda all: len(all.get(SERIES, ())) == 3)
        plane.ask_to_move()
        await eventually(lambda: len(plane.sessions) == 2)
        backlog.add(3)
        numbers = await plane.until_numbers(lambda all: len(all[SERIES]) == 6)
        assert numbers[SERIES] == expected(*range(1, 7))


async def test_a_request_fits_what_the_other_end_takes() -> None:
    backlog = Memory()
    backlog.add(3)
    all_three = len(codec.encode(Packer().pack(backlog.batches)))
    connection = Connection("127.0.0.1:1")
    try:
        for limit, sequence in ((all_three, 3), (all_three - 1, 1)):
            request = Reports(connection, backlog, rng=quick(), limit=limit)._next(Packer())
            assert request is not None
            assert request.sequence == sequence
    finally:
        await connection.close()
