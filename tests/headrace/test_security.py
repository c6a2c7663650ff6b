"""Addresses, plain text, and bearer credentials."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.errors import InvalidError, UnauthenticatedError
from headrace.security import Address, bearer, check_plaintext, credential_of, parse_address


@pytest.mark.parametrize(
    ("text", "host", "port", "local"),
    [
        ("127.0.0.1:8401", "127.0.0.1", 8401, True),
        ("localhost:0", "localhost", 0, True),
        ("[::1]:8401", "::1", 8401, True),
        ("127.9.9.9:1", "127.9.9.9", 1, True),
        ("0.0.0.0:8401", "0.0.0.0", 8401, False),
        ("[::]:8401", "::", 8401, False),
        ("192.0.2.1:8401", "192.0.2.1", 8401, False),
        ("cloud-api.example:65535", "cloud-api.example", 65535, False),
        ("localhost.example:1", "localhost.example", 1, False),
    ],
)
def test_an_address_is_parsed_and_knows_whether_it_is_local(text: str, host: str, port: int, local: bool) -> None:
    address = parse_address(text)
    assert (address.host, address.port, address.is_local) == (host, port, local)
    assert str(address) == text


def test_a_socket_path_is_local() -> None:
    address = parse_address("unix:/run/headrace.sock")
    assert address.unix == "/run/headrace.sock"
    assert address.is_local
    assert str(address) == "unix:/run/headrace.sock"


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "is not host:port"),
        ("8401", "is not host:port"),
        (":8401", "is not host:port"),
        ("127.0.0.1:", "port '' is not a number"),
        ("127.0.0.1:http", "port 'http' is not a number"),
        ("127.0.0.1:65536", "from 0 to 65535"),
        ("127.0.0.1:-1", "port '-1' is not a number"),
        ("127.0.0.1:٣", "is not a number"),
        ("::1:8401", "in brackets"),
        ("unix:", "the path of the socket is missing"),
    ],
)
def test_a_bad_address_says_what_is_wrong(text: str, why: str) -> None:
    with pytest.raises(InvalidError, match=why):
        parse_address(text)


@given(st.text())
def test_any_text_is_an_address_or_invalid(text: str) -> None:
    try:
        parse_address(text)
    except InvalidError:
        pass


@pytest.mark.parametrize(
    ("host", "secure", "insecure", "allowed"),
    [
        ("127.0.0.1", False, False, True),
        ("192.0.2.1", True, False, True),
        ("192.0.2.1", False, True, True),
        ("192.0.2.1", False, False, False),
    ],
)
def test_plain_text_stays_on_this_host_without_an_opt_out(
    host: str, secure: bool, insecure: bool, allowed: bool
) -> None:
    address = Address(host=host, port=1)
    if allowed:
        check_plaintext(address, secure=secure, insecure=insecure, flag="--grpc-insecure")
    else:
        with pytest.raises(InvalidError, match=r"'192\.0\.2\.1:1' is not on loopback.*--grpc-insecure"):
            check_plaintext(address, secure=secure, insecure=insecure, flag="--grpc-insecure")


def test_a_credential_travels_as_a_bearer() -> None:
    assert credential_of(bearer("secret")) == "secret"
    assert bearer("") == ()


@pytest.mark.parametrize(
    "metadata", [None, (), (("authorization", "Basic x"),), (("authorization", b"Bearer x"),), (("other", "Bearer x"),)]
)
def test_anything_else_is_no_credential(metadata: tuple[tuple[str, str | bytes], ...] | None) -> None:
    assert credential_of(metadata) == ""


@pytest.mark.parametrize("credential", ["geheimnis-ü", "one\ntwo", "\udce4", "a\0b", "tab\t"])
def test_a_credential_that_no_header_can_carry_is_unauthenticated(credential: str) -> None:
    with pytest.raises(UnauthenticatedError, match="characters that no token has"):
        bearer(credential)
