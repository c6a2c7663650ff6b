"""What goes through an interface: the arithmetic by table, and this machine's loopback."""

from __future__ import annotations

import asyncio

import pytest

from agent.engine.inputs.netif import NAMES, Counts, read_interface, usage
from agent.engine.plugin import PluginError
from agent.engine.registry import inputs
from tests.agent.engine.conftest import NOW, PluginKit, Sink, running_input

TEXT = """\
Inter-|   Receive                                                |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed
    lo: 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16
  eth0: 100 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0
eth0.7:200 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0
  tun0: 1 2 3
"""  # noqa: E501  # the kernel's own lines


@pytest.mark.parametrize(
    ("wanted", "first"),
    [("lo", 1), ("eth0", 100), ("eth0.7", 200), ("eth", 200), ("tun0", None), ("wlan0", None), ("face", None)],
)
def test_an_interface_is_found_by_its_name_or_by_how_that_begins(wanted: str, first: int | None) -> None:
    found = read_interface(TEXT, wanted)
    assert (found[0] if found else None) == first


BEFORE: Counts = tuple(range(16))


def test_a_brief_record_has_bytes_packets_and_errors_in_the_order_of_fluent_bit() -> None:
    record = usage("eth0", BEFORE, tuple(2 * value for value in BEFORE), verbose=False)
    assert list(record.items()) == [
        ("eth0.rx.bytes", 0),
        ("eth0.rx.packets", 1),
        ("eth0.rx.errors", 2),
        ("eth0.tx.bytes", 8),
        ("eth0.tx.packets", 9),
        ("eth0.tx.errors", 10),
    ]


def test_a_verbose_record_has_every_number_and_one_that_went_back_counts_nothing() -> None:
    record = usage("eth0", BEFORE, (*range(1, 16), 3), verbose=True)
    assert list(record) == [f"eth0.{name}" for name in NAMES]
    assert list(record.values()) == [1] * 15 + [0]


async def test_loopback_is_measured_from_the_second_look_on(plugins: PluginKit, sink: Sink) -> None:
    server = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    netif = plugins.make(inputs, "netif", interface="lo", test_at_init=True, interval_sec=0, interval_nsec=20_000_000)
    async with server, running_input(netif, sink):
        async with asyncio.timeout(20):
            while sum(record["lo.rx.bytes"] for record in sink.records) < 1000:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.write(b"x" * 1000)
                writer.close()
                await sink.take(len(sink.records) + 1)
    assert (sink.batches[0].tag, sink.batches[0].times, sink.batches[0].signal) == ("tag", [NOW], "logs")
    assert all(record["lo.rx.packets"] == record["lo.tx.packets"] for record in sink.records)


async def test_an_interface_that_is_not_there_has_zeros_unless_it_is_tested_for(plugins: PluginKit, sink: Sink) -> None:
    async with running_input(plugins.make(inputs, "netif", interface="none9", interval_nsec=1, interval_sec=0), sink):
        (record, *_) = await sink.take(1)
    assert set(record.values()) == {0}
    with pytest.raises(PluginError, match="there is no interface 'none9'"):
        await plugins.make(inputs, "netif", interface="none9", test_at_init=True).open()
