"""Network outputs send what a real Fluent Bit sent: request lines, headers and bodies, byte for byte."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from agent.engine.config import options_of
from agent.engine.plugin import OutputSettings
from agent.engine.registry import outputs
from tests.agent.engine.conftest import PluginKit
from tests.agent.engine.golden.wire import FOLDER, cases, sent_by_fluent_bit, sent_by_this_engine
from tests.fluent_bit import FLUENT_BIT, needs_fluent_bit

NAMES = sorted(path.stem for path in FOLDER.glob("*.json"))
CASES = [
    pytest.param(name, case, cases(name).get("raw", False), id=f"{name}: {case['name']}")
    for name in NAMES
    for case in cases(name)["cases"]
]


@pytest.mark.parametrize(("name", "case", "raw"), CASES)
async def test_an_output_sends_what_fluent_bit_sent(
    name: str, case: dict[str, Any], raw: bool, plugins: PluginKit
) -> None:
    assert await sent_by_this_engine(name, case, plugins, raw=raw) == case["sent"]


@needs_fluent_bit
@pytest.mark.parametrize(("name", "case", "raw"), CASES)
async def test_fluent_bit_sends_what_is_kept_here(name: str, case: dict[str, Any], raw: bool, tmp_path: Path) -> None:
    assert await sent_by_fluent_bit(name, case, FLUENT_BIT, tmp_path, raw=raw) == case["sent"]


@needs_fluent_bit
@pytest.mark.parametrize("name", [*NAMES, "http"])
def test_every_property_of_fluent_bit_is_taken_or_refused_by_name(name: str) -> None:
    shown = subprocess.run([FLUENT_BIT, "-J"], capture_output=True, check=True).stdout
    (theirs,) = (plugin for plugin in json.loads(shown)["outputs"] if plugin["name"] == name)
    ours = outputs.find(name)
    known = {
        option for shape in (ours.config, OutputSettings) for _, spec in options_of(shape) for option in spec.names
    }
    listed = {option["name"] for options in theirs["properties"].values() for option in options}
    assert listed <= known | ours.refused
