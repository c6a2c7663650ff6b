"""Figures of real pipelines on real agents, as people ask for them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from headrace import api
from tests.processes import wait_until
from tests.system.plane import Plane

pytestmark = [pytest.mark.system, pytest.mark.timeout(240)]

LINES = 40


def following(folder: Path, version: int) -> str:
    """What is written to one file goes to another; each version is another content."""
    return f"""
service:
  flush: 0.2
pipeline:
  inputs:
    - name: tail
      path: {folder}/in.log
      read_from_head: true
      refresh_interval: 1
      db: data/offsets.db
  filters:
    - name: record_modifier
      match: '*'
      record: version {version}
  outputs:
    - name: file
      match: '*'
      path: {folder}
      file: out.log
"""


def test_figures_add_up_over_five_changes_and_two_restarts(tmp_path: Path) -> None:
    source, written = tmp_path / "in.log", 0
    source.touch()

    def write() -> None:
        nonlocal written
        with source.open("a") as file:
            file.writelines(f"line {written + number}\n" for number in range(LINES))
        written += LINES

    def total(plane: Plane, figure: str) -> float:
        rows = plane.ask(lambda client: client.latest_metrics(api.LatestMetricsRequest(pipeline="follow")))
        return sum(row.values.get(figure, 0.0) for row in rows)

    with Plane(tmp_path / "plane") as plane:
        agent = plane.agent("a-1", "--settle", "0.5", "--sample-interval", "1", engine="embedded")
        for version in range(6):
            write()
            plane.apply("follow", following(tmp_path, version), "--wait=good")
            if version in (2, 4):
                write()
                agent.stop()
                agent.start()
                agent.until_connected()
        write()
        for figure in ("records_in_total", "records_out_total"):
            wait_until(lambda figure=figure: total(plane, figure) >= written, timeout=60, what=f"{figure} is {written}")
            assert total(plane, figure) == written
        printed = json.loads(plane.cli("metrics", "follow", "--by", "plugin", "-o", "json"))
        assert {row["tags"]["plugin"]: row["values"].get("records_in_total") for row in printed}["tail.0"] == written
        assert "Metrics:" in plane.cli("describe", "pipeline", "follow")
