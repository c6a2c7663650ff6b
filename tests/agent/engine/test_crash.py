"""Real processes that are killed at random moments: what was in a tailed file arrives, whatever happens, and what a
network input acknowledged."""

import asyncio
import os
import random
import time
from collections import Counter
from collections.abc import Callable

import pytest

from tests.agent.clients import ACKNOWLEDGING, INPUTS, KINDS, PARSER, clients, read
from tests.agent.engine.conftest import EngineKit
from tests.processes import wait_until

TEXT = """
    service: {{flush: 0.05, grace: 3, storage.path: store}}
    pipeline:
      inputs:
        - {{name: tail, path: in.log, tag: t, read_from_head: true, db: off.db, refresh_interval: 1{storage}}}
      outputs:
        - {{name: file, match: '*', file: out, format: plain}}
"""
LINES_A_ROUND = 3000


@pytest.mark.parametrize("storage", ["", ", storage.type: filesystem"], ids=["memory", "filesystem"])
@pytest.mark.parametrize("rounds", [4, pytest.param(50, marks=[pytest.mark.soak, pytest.mark.timeout(600)])])
def test_no_tailed_line_is_lost_by_kill_9(kit: EngineKit, storage: str, rounds: int) -> None:
    rng = random.Random(7)
    written = 0
    for number in range(rounds):
        with kit.child(TEXT.format(storage=storage), name=f"engine{number}") as engine:
            already = len(kit.lines("out"))
            with open("in.log", "a") as log:
                for _ in range(LINES_A_ROUND):
                    log.write(f"{written}\n")
                    written += 1
                    if written % 100 == 0:
                        log.flush()
            if number % 3 == 1:
                os.rename("in.log", f"in.log.{number}")
            engine.wait_for(lambda already=already: len(kit.lines("out")) > already)
            moment = time.monotonic() + rng.random() * 0.2
            wait_until(lambda moment=moment: time.monotonic() > moment)
            engine.kill()
    with kit.child(TEXT.format(storage=storage), name="last") as engine:
        everything = {str(number) for number in range(written)}
        engine.wait_for(lambda: {line.split('"')[3] for line in kit.lines("out")} >= everything, timeout=60)
        engine.wait_for(lambda: "started" in engine.output)
        assert engine.stop() == 0
    counts = Counter(line.split('"')[3] for line in kit.lines("out"))
    assert set(counts) == everything
    # What may come twice is what was written but not yet committed at a kill: never more than once per kill.
    assert max(counts.values()) <= rounds + 1


def test_an_orderly_stop_under_load_doubles_nothing(kit: EngineKit) -> None:
    written = 0
    for number in range(4):
        with kit.child(TEXT.format(storage=""), name=f"engine{number}") as engine:
            with open("in.log", "a") as log:
                for _ in range(LINES_A_ROUND):
                    log.write(f"{written}\n")
                    written += 1
            engine.wait_for(lambda number=number: len(kit.lines("out")) > number * LINES_A_ROUND)
            assert engine.stop() == 0
    with kit.child(TEXT.format(storage=""), name="last") as engine:
        engine.wait_for(lambda: "started" in engine.output and len(kit.lines("out")) >= written)
        assert engine.stop() == 0
    assert [line.split('"')[3] for line in kit.lines("out")] == [str(number) for number in range(written)]


NETWORK = """
service: {flush: 0.05, grace: 3, storage.path: store, storage.type: filesystem}
pipeline:
  outputs:
    - {name: file, match: '*', file: out, format: plain}
  inputs:
"""


@pytest.mark.parametrize(
    ("rounds", "records"), [(2, 5), pytest.param(50, 100, marks=[pytest.mark.soak, pytest.mark.timeout(1800)])]
)
async def test_nothing_that_a_network_input_acknowledged_is_lost_by_kill_9(
    kit: EngineKit, rounds: int, records: int
) -> None:
    """Each round ends when so many records of each client are taken, and a moment more."""
    rng = random.Random(7)

    def arrived() -> dict[str, set[int]]:
        found: dict[str, set[int]] = {kind: set() for kind in KINDS}
        for line in kit.lines("out"):
            if line.endswith("}"):  # the last one may be cut
                kind, number = read(line)
                found[kind].add(number)
        return found

    def life(name: str, until: Callable[[], bool], *, is_last: bool = False) -> None:
        with kit.child(text, name=name) as engine:
            engine.wait_for(until)
            if is_last:
                engine.wait_for(lambda: "started" in engine.output)
                assert engine.stop() == 0
            else:
                moment = time.monotonic() + rng.random() * 0.3
                wait_until(lambda: time.monotonic() > moment)
                engine.kill()

    async with clients() as sending:
        ports = {kind: client.port for kind, client in sending.items()}
        text = PARSER + NETWORK + INPUTS.format(**ports)
        for number in range(rounds):
            before = {kind: client.taken for kind, client in sending.items()}

            def all_send(before: dict[str, int] = before) -> bool:
                return all(client.taken >= before[kind] + records for kind, client in sending.items())

            await asyncio.to_thread(life, f"engine{number}", all_send)
    wanted = {kind: set(range(sending[kind].taken)) for kind in ACKNOWLEDGING}
    await asyncio.to_thread(
        life, "last", lambda: all(arrived()[kind] >= wanted[kind] for kind in ACKNOWLEDGING), is_last=True
    )
    found = arrived()
    for kind, client in sending.items():
        print(f"{client}; {len(set(range(client.taken)) - found[kind])} of what was taken did not arrive")
        if kind in ACKNOWLEDGING:
            assert found[kind] >= wanted[kind]
