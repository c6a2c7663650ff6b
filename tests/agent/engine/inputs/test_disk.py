"""What disks read and write: the arithmetic by table, and this machine's own numbers."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent.engine.inputs.disk import Sectors, read_devices, usage
from agent.engine.registry import inputs
from tests.agent.engine.conftest import NOW, PluginKit, Sink, running_input

TEXT = """\
   7       0 loop0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0
 254       0 vda 440150 51518 20987154 1152771 610058 497516 45114648 489336 0 222264 1717849 306803 27 223 63 101 12
 254       1 vda1 4 5 100 11 6 4 200 4
   8       0 sda 1 2
"""


@pytest.mark.parametrize(
    ("part_of_name", "devices"),
    [
        ("", {"loop0": (0, 0), "vda": (20987154, 45114648), "vda1": (100, 200)}),
        ("vda", {"vda": (20987154, 45114648), "vda1": (100, 200)}),
        ("da1", {"vda1": (100, 200)}),
        ("nvme", {}),
    ],
    ids=["all", "a disk and its partitions", "a part of the name", "none"],
)
def test_devices_are_those_with_the_text_in_their_name(part_of_name: str, devices: Sectors) -> None:
    assert read_devices(TEXT, part_of_name) == devices


@pytest.mark.parametrize(
    ("before", "now", "read", "written"),
    [
        ({"a": (10, 20)}, {"a": (13, 21)}, 1536, 512),
        ({"a": (1, 1), "a1": (1, 1)}, {"a": (2, 2), "a1": (2, 2)}, 1024, 1024),
        ({"a": (10, 20)}, {"a": (10, 20), "b": (1, 2)}, 512, 1024),
        ({"a": (10, 20)}, {"a": (5, 22)}, 0, 1024),
        ({"a": (10, 20)}, {}, 0, 0),
    ],
    ids=["one disk", "a disk and its partition", "a disk that came", "a counter that went back", "a disk that went"],
)
def test_the_record_has_the_bytes_of_all_devices(before: Sectors, now: Sectors, read: int, written: int) -> None:
    assert list(usage(before, now).items()) == [("read_size", read), ("write_size", written)]


async def test_this_machine_is_measured_from_the_second_look_on(
    plugins: PluginKit, sink: Sink, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks: list[str] = []
    real = Path.read_text

    def read_text(path: Path, *rest: object, **more: object) -> str:
        looks.append(str(path))
        return real(path, *rest, **more)  # type: ignore[arg-type]  # passes on what it is given

    monkeypatch.setattr(Path, "read_text", read_text)
    disk = plugins.make(inputs, "disk", interval_sec=0, interval_nsec=20_000_000)
    async with running_input(disk, sink):
        first, second = (await sink.take(2))[:2]
    assert looks.count("/proc/diskstats") > len(sink.batches)
    assert (sink.batches[0].tag, sink.batches[0].times, sink.batches[0].signal) == ("tag", [NOW], "logs")
    for record in (first, second):
        assert list(record) == ["read_size", "write_size"]
        assert all(type(value) is int and value >= 0 and value % 512 == 0 for value in record.values())
