"""The load generator itself: its light client and the real control plane understand each other."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.bench.channel import config
from tests.bench.fleet import fleet

pytestmark = pytest.mark.system


async def test_a_small_fleet_connects_takes_changes_and_comes_back_all_at_once(tmp_path: Path) -> None:
    async with fleet(tmp_path, agents=6) as made:
        first = await made.connect(concurrency=4)
        assert (len(first.delays), first.lost, first.why) == (6, 0, [])
        messages = await made.messages()
        for number in range(3):
            push = await made.push(config(number))
            assert (len(push.arrivals), push.missing) == (6, 0)
            await made.settle()
        assert await made.messages() - messages == 3 * 6, "a change costs an agent one message"
        await made.heartbeats(rounds=2, seconds=0.1)
        await made.report(series=4, interval=0.05, rounds=2)
        reported = await made.reported()
        assert (reported.samples, reported.broken, reported.why) == (6 * 4 * 2, 0, [])
        await made.disconnect()
        again = await made.connect(concurrency=12)
        assert (len(again.delays), again.lost, again.why) == (6, 0, [])
        assert again.message_bytes < 300, "a clean resume carries no configuration"


def test_configurations_have_their_size_and_differ() -> None:
    made = [config(number) for number in range(3)]
    assert len({*made}) == 3
    assert all(5_000 <= len(text) < 5_200 for text in made)
