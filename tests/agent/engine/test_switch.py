"""One offset database, two engines in turns: a switch neither loses nor repeats. Takes a real Fluent Bit."""

import os

import pytest

from tests.agent.engine.conftest import EMBEDDED, EngineKit
from tests.fluent_bit import FLUENT_BIT, needs_fluent_bit

TEXT = """
    service: {flush: 0.2, grace: 3}
    pipeline:
      inputs:
        - {name: tail, path: 'in.log', tag: t, read_from_head: true, db: off.db, refresh_interval: 1}
      outputs:
        - {name: file, match: '*', file: out, format: plain}
"""
LINES_A_TURN = 500


@needs_fluent_bit
@pytest.mark.parametrize("first", ["embedded", "fluent-bit"])
def test_engines_that_take_turns_on_one_offset_database_read_every_line_once(kit: EngineKit, first: str) -> None:
    written = 0
    for turn in range(6):
        is_embedded = (turn % 2 == 0) == (first == "embedded")
        if turn == 3:  # while no engine runs, the file is rotated; what follows is another file by the same name
            os.rename("in.log", "in.log.1")
        with open("in.log", "a") as log:
            log.writelines(f"{number}\n" for number in range(written, written + LINES_A_TURN))
        written += LINES_A_TURN
        program = EMBEDDED if is_embedded else [FLUENT_BIT, "-q"]
        with kit.child(TEXT, name=f"turn{turn}", program=program) as engine:
            engine.wait_for(lambda count=written: len(kit.lines("out")) >= count)
            assert engine.stop() == 0
    assert [line.split('"')[3] for line in kit.lines("out")] == [str(number) for number in range(written)]
