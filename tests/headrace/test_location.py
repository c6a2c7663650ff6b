"""Where a control plane is, as people write it."""

from __future__ import annotations

import pytest

from headrace.errors import InvalidError
from headrace.location import Location, parse_location
from headrace.security import Address


@pytest.mark.parametrize(
    ("text", "location"),
    [
        ("h:8402", Location(address=Address(host="h", port=8402))),
        ("unix:/run/a/b", Location(address=Address(host="", port=0, unix="/run/a/b"))),
        ("https://h", Location(address=Address(host="h", port=443), tls=True)),
        ("https://h/", Location(address=Address(host="h", port=443), tls=True)),
        ("http://h:1/a/b-c.d/", Location(address=Address(host="h", port=1), prefix="/a/b-c.d", tls=False)),
        ("http://h", Location(address=Address(host="h", port=80), tls=False)),
        ("https://[::1]", Location(address=Address(host="::1", port=443), tls=True)),
        ("https://[::1]:9/p", Location(address=Address(host="::1", port=9), prefix="/p", tls=True)),
    ],
)
def test_an_address_and_a_url_name_a_place(text: str, location: Location) -> None:
    assert parse_location(text) == location


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("h:1/p", "write it as a URL: https://HOST/PREFIX"),
        ("ftp://h", "'ftp' is neither https nor http"),
        ("https://ann:secret@h/", "credentials have no place"),
        ("https://h/p?q", "a path of plain names, and nothing else"),
        ("https://h/../x y", "a path of plain names"),
        ("https://", "is not host:port"),
        ("https://h:x", "port 'x' is not a number"),
    ],
)
def test_what_names_none_is_refused_with_what_is_wrong(text: str, why: str) -> None:
    with pytest.raises(InvalidError, match=why) as refused:
        parse_location(text)
    assert "secret" not in str(refused.value)
