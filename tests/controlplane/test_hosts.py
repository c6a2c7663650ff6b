"""Which names a listener of people answers to, and off loopback only where people are told apart."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlplane.hosts import Hosts, check_people
from controlplane.identity.cluster import ClusterAddress
from controlplane.identity.proxies import Proxies
from controlplane.settings import Door, Settings
from headrace import api
from headrace.errors import InvalidError
from headrace.security import ServerTls, parse_address
from headrace.types import Role
from tests.controlplane.conftest import Start

LOCAL = Hosts.of(parse_address("127.0.0.1:8400"))
NAMED = Hosts.of(parse_address("10.0.0.7:8400"), ["headrace.example.com"])
EVERYWHERE = Hosts.of(parse_address("0.0.0.0:8400"), ["headrace.example.com"])
NONE = "none"


@pytest.mark.parametrize(
    ("hosts", "taken", "refused"),
    [
        pytest.param(
            LOCAL,
            "localhost localhost:8400 LOCALHOST:1 127.0.0.1 127.0.0.1:8400 [::1] [::1]:8400",
            "evil.example evil.example:8400 10.0.0.7 127.0.0.1.evil.example localhost.evil.example user@localhost ::1 "
            "[::1 localhost:http localhost:8400:1 0.0.0.0 localhost/ [localhost]",
            id="loopback",
        ),
        pytest.param(
            NAMED,
            "10.0.0.7 10.0.0.7:443 headrace.example.com Headrace.Example.com:443 localhost",
            "10.0.0.8 example.com a.headrace.example.com headrace.example.com.",
            id="one address",
        ),
        pytest.param(
            EVERYWHERE,
            "10.0.0.7 192.0.2.1:8400 [2001:db8::1]:8400 headrace.example.com 127.0.0.1:8400",
            "evil.example 10.0.0 0x7f.1 [evil.example]",
            id="every address",
        ),
    ],
)
def test_only_names_of_ours_are_answered(hosts: Hosts, taken: str, refused: str) -> None:
    assert [host for host in taken.split() if not hosts.takes(host)] == []
    assert [host for host in ("", *refused.split()) if hosts.takes(host)] == []


def test_a_page_of_ours_may_ask_and_no_other() -> None:
    assert all(map(NAMED.takes_origin, ("http://localhost:8400", "https://headrace.example.com", "HTTP://10.0.0.7:1")))
    assert not any(
        map(NAMED.takes_origin, ("null", "", "https://evil.example", "localhost", "file://localhost", "https://"))
    )


@given(st.text())
def test_whatever_is_said_to_be_the_host_is_a_name_of_ours_or_not(text: str) -> None:
    assert EVERYWHERE.takes(text) in (True, False)
    assert not LOCAL.takes(f"{text}.evil.example")


@pytest.mark.parametrize("name", ["https://headrace", "headrace:8400", "", "head race", "-x", "*"])
def test_a_public_host_is_a_name_alone(name: str) -> None:
    with pytest.raises(InvalidError, match=r"--public-host .* is not a host such as"):
        Hosts.of(parse_address("127.0.0.1:1"), [name])


@pytest.mark.parametrize("known_by", [NONE, "users", "--management-token-file", "--grpc-mtls", "--trusted-proxy"])
@pytest.mark.parametrize(
    ("doors", "named"),
    [
        pytest.param({"--http": "127.0.0.1:1", "--grpc": "[::1]:2"}, "", id="both on loopback"),
        pytest.param({"--http": "localhost:1", "--grpc": "unix:/run/h"}, "", id="a socket in a folder"),
        pytest.param({"--http": "0.0.0.0:1", "--grpc": "127.0.0.1:2"}, "--http 0.0.0.0:1", id="http everywhere"),
        pytest.param({"--http": "127.0.0.1:1", "--grpc": "[::]:2"}, "--grpc [::]:2", id="management everywhere"),
        pytest.param({"--http": "h.example:1", "--grpc": "10.0.0.7:2"}, "--http h.example:1", id="both elsewhere"),
    ],
)
def test_off_loopback_people_must_be_told_apart(doors: Mapping[str, str], named: str, known_by: str) -> None:
    addresses = {flag: parse_address(text) for flag, text in doors.items()}
    ways = () if known_by == NONE else ("", known_by)
    if not named or ways:
        check_people(addresses, known_by=ways)
        return
    with pytest.raises(InvalidError) as refused:
        check_people(addresses, known_by=("", ""))
    assert refused.value.message.startswith(f"{named} is not on loopback, and people there could not be told from any")
    assert "`headrace user create NAME --role admin`" in refused.value.message


def test_each_way_in_which_people_show_who_they_are_counts(data_dir: Path) -> None:
    tls = ServerTls(certificate=b"", key=b"")
    ways: Mapping[str, Mapping[str, Any]] = {
        "--management-token-file": {"management_token": "t"},
        "--grpc-mtls": {"grpc_mtls": Door(address="127.0.0.1:0"), "client_ca": b"pem", "tls": tls},
        "--trusted-proxy": {"proxies": Proxies(networks=("10.0.0.0/8",))},
        "--kubernetes-identity": {"cluster": ClusterAddress(url="https://10.0.0.1")},
    }
    assert Settings(data_dir=data_dir, tls=tls).people_known_by == ()
    for flag, settings in ways.items():
        assert Settings(data_dir=data_dir, **settings).people_known_by == (flag,)
    with pytest.raises(InvalidError) as refused:
        check_people({"--grpc": parse_address("0.0.0.0:1")}, known_by=())
    assert all(flag in refused.value.message for flag in ways)


async def test_a_plane_with_a_user_opens_off_loopback_and_one_without_does_not(start: Start) -> None:
    everywhere = {"http": Door(address="0.0.0.0:0", insecure=True)}
    with pytest.raises(InvalidError, match=r"--http 0\.0\.0\.0:0 is not on loopback"):
        async with start(**everywhere):
            pass
    async with start() as plane:
        await plane.client.create_user("ada", Role.ADMIN)
    async with start(**everywhere) as plane:
        assert plane.running.ready.http.startswith("0.0.0.0:")
        await plane.client.revoke_user("ada")
    with pytest.raises(InvalidError, match="could not be told from anybody else"):
        async with start(**everywhere):
            pass
    async with start(**everywhere, management_token="of the operator") as plane:
        assert await plane.client.get_status() != api.GetStatusResponse()
