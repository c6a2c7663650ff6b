"""A server's certificate or its callers' authorities are replaced in files, and the next connection goes by them."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from headrace.client import enroll
from headrace.errors import InvalidError, UnavailableError
from headrace.messages import EnrollRequest
from headrace.security import ClientTls, ServerTls
from headrace.server import AuthorityFile, CertificateFiles, ChannelService, Listener
from headrace.types import Facts
from tests.certificates import LOOPBACK, Issuer, key_of, make_certificate
from tests.headrace.test_server_channel import Host


def put(source: Path, target: Path) -> None:
    """Replaces a pair, key last, as a tool does that knows no better."""
    shutil.copy(source, target)
    shutil.copy(key_of(source), key_of(target))


@pytest.fixture
def pair(tmp_path: Path) -> Path:
    """The files that the server is given."""
    put(make_certificate(tmp_path, "first"), tmp_path / "server.pem")
    return tmp_path / "server.pem"


async def reaches(listener: Listener, trusted: Path) -> bool:
    """Whether a client that trusts this certificate gets an answer over a new connection."""
    try:
        request = EnrollRequest(token="t", facts=Facts(name="a"))
        await enroll(listener.address, request, tls=ClientTls(ca=trusted.read_bytes()))
    except UnavailableError:
        return False
    return True


async def test_a_new_certificate_is_served_at_the_next_connection(tmp_path: Path, pair: Path) -> None:
    first, second = tmp_path / "first.pem", make_certificate(tmp_path, "second")
    files = CertificateFiles(pair, key_of(pair))
    _, certificate, key = files.current()
    tls = ServerTls(certificate=certificate, key=key, current=files.current)
    async with Listener("127.0.0.1:0", [ChannelService(Host())], tls=tls) as listener:
        assert await reaches(listener, first)
        assert not await reaches(listener, second)
        put(second, pair)
        assert await reaches(listener, second)
        assert not await reaches(listener, first)
        shutil.copy(first, pair)  # without its key: nothing changes
        assert await reaches(listener, second)
        shutil.copy(key_of(first), key_of(pair))
        assert await reaches(listener, first)


def test_each_change_has_a_greater_number_and_no_change_has_the_same(tmp_path: Path, pair: Path) -> None:
    files = CertificateFiles(pair, key_of(pair))
    first = files.current()
    assert files.current() == first
    second = make_certificate(tmp_path, "second")
    put(second, pair)
    assert files.current() == (first[0] + 1, second.read_bytes(), key_of(second).read_bytes())
    pair.unlink()  # a moment in which there is none
    assert files.current()[1] == second.read_bytes()


def test_files_that_are_no_pair_are_refused_at_the_start(tmp_path: Path, pair: Path) -> None:
    other = make_certificate(tmp_path, "other")
    with pytest.raises(InvalidError, match="are no certificate and its key"):
        CertificateFiles(pair, key_of(other))
    with pytest.raises(InvalidError, match="No such file"):
        CertificateFiles(tmp_path / "none.pem", key_of(other))


async def test_new_authorities_of_callers_are_asked_at_the_next_connection(tmp_path: Path) -> None:
    old, new = Issuer("old"), Issuer("new")
    certificate, key = old.issue("plane", LOOPBACK)
    path = tmp_path / "callers.pem"
    path.write_bytes(old.certificate)
    file = AuthorityFile(path)
    tls = ServerTls(certificate=certificate, key=key, client_ca=file.current(), current_ca=file.current)
    async with Listener("127.0.0.1:0", [ChannelService(Host())], tls=tls) as listener:

        async def lets_in() -> list[str]:
            found = []
            for name, (shown, own) in callers.items():
                trusting = ClientTls(ca=old.certificate, certificate=shown, key=own)
                try:
                    await enroll(listener.address, EnrollRequest(token="t", facts=Facts(name="a")), tls=trusting)
                    found.append(name)
                except UnavailableError:
                    pass
            return found

        callers = {"old": old.issue("ann"), "new": new.issue("ann"), "none": (b"", b"")}
        assert await lets_in() == ["old"]
        path.write_bytes(new.certificate[: len(new.certificate) // 2])  # half written: nothing changes
        assert await lets_in() == ["old"]
        path.write_bytes(old.certificate + new.certificate)
        assert await lets_in() == ["old", "new"]
        path.write_bytes(new.certificate)
        assert await lets_in() == ["new"]


@pytest.mark.parametrize(
    "damage",
    [b"", b"\xff\xfe", b"no certificate", Issuer().issue("ann")[1], Issuer().certificate + Issuer().certificate[:200]],
    ids=["empty", "binary", "text", "a key", "cut short"],
)
def test_a_file_that_has_no_authorities_is_refused_at_the_start_and_kept_out_later(
    tmp_path: Path, damage: bytes
) -> None:
    path, good = tmp_path / "callers.pem", Issuer().certificate
    path.write_bytes(damage)
    with pytest.raises(InvalidError, match=r"callers\.pem has no certificates of authorities: .*give them in PEM"):
        AuthorityFile(path)
    path.write_bytes(good)
    file = AuthorityFile(path)
    path.write_bytes(damage)
    with capture_logs() as said:
        assert [file.current(), file.current()] == [good, good]
    assert [line["event"] for line in said] == [
        "the new file of client authorities cannot be used; the one before it stays"
    ]
