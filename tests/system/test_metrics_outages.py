"""Metrics over outages of all that is between an engine and InfluxDB: none is missing or doubled, and changes go on."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from agent.reporting.frames import frames
from headrace.api import LatestMetricsRequest
from headrace.types import Phase
from tests.influxd import Influxd
from tests.processes import wait_until
from tests.system.line import Line
from tests.system.plane import Agent, Plane
from tests.system.test_figures import CONFIG

pytestmark = [pytest.mark.system, pytest.mark.soak, pytest.mark.timeout(900)]

AWAY_S, SHORT_S = 120.0, 20.0
DATABASE = "metrics"


class Course:
    """One pipeline that is fed all the time, and changed whatever is away."""

    def __init__(self, folder: Path, plane: Plane) -> None:
        self.fed = self.version = 0
        self.took: list[float] = []
        """Seconds from each `apply` until the change had proved good."""
        self._folder, self._plane = folder, plane

    def feed(self, seconds: float) -> None:
        """A hundred lines a second for so long."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            with (self._folder / "in.log").open("a") as file:
                file.writelines(f"line {self.fed + number}\n" for number in range(20))
            self.fed += 20
            time.sleep(0.2)

    def change(self) -> None:
        """Applies another version and waits until it runs."""
        self.version += 1
        began = time.monotonic()
        config = CONFIG.format(folder=self._folder, flag=("off", "on")[self.version % 2])
        self._plane.apply("p", config, "--wait")
        self._plane.until("p", Phase.RUNNING, Phase.GOOD)
        self.took.append(time.monotonic() - began)


def stored(agent: Agent) -> int:
    """Up to which batch the store has everything, as the agent knows it."""
    return int((agent.data / "spool" / "stored").read_text())


def newest(agent: Agent) -> int:
    """The last batch that the agent has kept."""
    segments = sorted((agent.data / "spool").glob("*.seg"))
    return max((frame.sequence for path in segments for frame in frames(path.read_bytes())), default=stored(agent))


def test_outages_of_store_plane_agent_and_line_lose_and_double_nothing(tmp_path: Path) -> None:
    with Influxd.installed(tmp_path / "influxd") as influxd:
        url = f"influxdb://127.0.0.1:{influxd.port}/{DATABASE}"
        flags = ("--metrics", url, "--sample-interval", "1s")
        with Plane(tmp_path / "plane", *flags) as plane, Line(plane.channel) as line:
            agent = plane.agent("a", via=line.address)
            course = Course(tmp_path, plane)
            course.change()
            course.feed(5)

            influxd.kill()
            course.feed(AWAY_S / 2)
            course.change()
            course.feed(AWAY_S / 2)
            influxd.start()
            course.feed(5)

            plane.kill()
            course.feed(SHORT_S)
            plane.start()
            agent.until_connected()
            course.change()

            agent.kill()
            course.feed(SHORT_S / 2)
            agent.start()
            agent.until_connected()

            line.sever()
            course.feed(SHORT_S)
            line.mend()
            agent.until_connected()
            course.change()
            course.feed(5)

            def total() -> tuple[float, float]:
                (found,) = plane.ask(lambda client: client.latest_metrics(LatestMetricsRequest(pipeline="p")))
                return found.values["records_in_total"], found.values["records_out_total"]

            wait_until(lambda: plane.answered(total) == (course.fed, course.fed), timeout=120, what="figures add up")
            (figures,) = plane.ask(lambda client: client.latest_metrics(LatestMetricsRequest(pipeline="p")))
            assert figures.values["unaccounted"] == 0
            agent.stop()  # what it measures last waits in its spool
            last, acknowledged = newest(agent), stored(agent)
            dropped = newest_value(influxd, "headrace_agent_spool_dropped_batches_total")
            found = influxd.query('SELECT "value" FROM /.*/', database=DATABASE)
    times = {at for series in found for at, *_ in series["values"]}
    # Each batch has a time of its own, and a series one point at a time: as many times as batches are all of them.
    took = ", ".join(f"{seconds:.1f}" for seconds in course.took)
    print(
        f"{course.fed} records; of {last} batches {acknowledged} acknowledged, {len(times)} stored; changes: {took} s"
    )
    assert dropped == 0
    assert acknowledged <= len(times) <= last
    assert acknowledged > AWAY_S


def newest_value(influxd: Influxd, name: str) -> float:
    """The newest value of the only series of a metric."""
    (series,) = influxd.query(f'SELECT last("value") FROM "{name}"', database=DATABASE)
    return float(series["values"][0][1])
