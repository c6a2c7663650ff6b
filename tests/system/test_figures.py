"""Figures of a pipeline through the real programs: they add up, also over a control plane that is away."""

from __future__ import annotations

from pathlib import Path

import pytest

from headrace.api import Figures, LatestMetricsRequest
from headrace.types import Phase
from tests.influxd import Influxd
from tests.system.plane import Plane

pytestmark = [pytest.mark.system, pytest.mark.timeout(300)]

CONFIG = """\
service:
  flush: 0.2
  grace: 2
pipeline:
  inputs:
    - name: tail
      path: {folder}/in.log
      tag: t
      db: offsets.db
      read_from_head: true
      skip_long_lines: {flag}
  outputs:
    - name: file
      match: '*'
      path: {folder}
      file: out.log
"""


@pytest.fixture(params=["sqlite", "influxdb"])
def store(request: pytest.FixtureRequest) -> str:
    """The `--metrics` of a control plane."""
    if request.param == "sqlite":
        return "sqlite"
    influxd: Influxd = request.getfixturevalue("influxd")
    return f"influxdb://127.0.0.1:{influxd.port}/figures"


@pytest.mark.soak  # beside `test_metrics.py`, whose course is shorter
def test_figures_add_up_over_reloads_restarts_and_a_killed_control_plane(tmp_path: Path, store: str) -> None:
    fed = 0

    def feed(count: int) -> None:
        nonlocal fed
        with (tmp_path / "in.log").open("a") as file:
            file.writelines(f"line {number}\n" for number in range(count))
        fed += count

    with Plane(tmp_path / "plane", "--metrics", store) as plane:
        agent = plane.agent("a", "--sample-interval", "1")
        for version in range(5):
            feed(100)
            plane.apply("p", CONFIG.format(folder=tmp_path, flag=("off", "on")[version % 2]), "--wait")
            plane.until("p", Phase.GOOD)
            if version == 1:
                agent.stop()
                agent.start()
                agent.until_connected()
            if version == 2:
                plane.kill()
                feed(100)
                agent.stop()
                agent.start()
                plane.start()
                plane.until("p", Phase.GOOD)

        asked = LatestMetricsRequest(pipeline="p")

        def totals() -> tuple[float, float]:
            (figures,) = plane.answered(lambda: plane.ask(lambda client: client.latest_metrics(asked))) or (Figures(),)
            found = figures.values
            return found.get("records_in_total", 0), found.get("records_out_total", 0)

        agent.program.wait_for(lambda: totals() == (fed, fed), timeout=60, what="the figures add up")
        assert fed == 600
