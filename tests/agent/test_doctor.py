"""The doctor: each thing that may be wrong between an agent and its control plane is found by name, with advice."""

from __future__ import annotations

import asyncio
import json
import shutil
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from agent import cli
from agent.doctor import Finding, Verdict, examine
from agent.doctor.host import of_data_folder, of_log_paths
from agent.model import Identity
from agent.settings import Settings
from agent.state import State
from headrace.security import ClientTls, ServerTls
from headrace.server import answers
from headrace.testing import FakeControlPlane
from tests.certificates import key_of, make_certificate
from tests.headrace.test_proxies import Connect

NOW = datetime.now(UTC)
TOKEN = "hrb_t1.secret"
Found = dict[str, Finding]


async def doctor(
    folder: Path, server: str, *paths: str, environment: Mapping[str, str] | None = None, **more: Any
) -> Found:
    """By check. The proxy that the machine may have is none of the test's."""
    now = more.pop("now", None) or datetime.now(UTC)
    settings = Settings(data_dir=folder / "data", server=server, name="a", **{"token": TOKEN, **more})
    # In a thread, as the command is in a process of its own: it looks at the line without an event loop.
    looking = partial(examine, settings, paths, now=now, environment=environment or {})
    found = await asyncio.to_thread(lambda: asyncio.run(looking()))
    assert all(finding.advice for finding in found if finding.verdict is not Verdict.OK)
    return {finding.check: finding for finding in found}


def is_wrong(found: Found, check: str, *words: str, verdict: Verdict = Verdict.FAIL) -> None:
    """This is what is wrong, in these words, and nothing else is."""
    assert [name for name, each in found.items() if each.verdict is not Verdict.OK] == [check], found
    assert found[check].verdict is verdict
    for word in words:
        assert word in f"{found[check].found} {found[check].advice}"


@asynccontextmanager
async def secure_plane(
    folder: Path, names: str = "IP:127.0.0.1", *, days: int = 30
) -> AsyncIterator[tuple[FakeControlPlane, ClientTls]]:
    certificate = make_certificate(folder, "server", names=names, days=days)
    tls = ServerTls(certificate=certificate.read_bytes(), key=key_of(certificate).read_bytes())
    async with FakeControlPlane(token=TOKEN, tls=tls) as plane:
        yield plane, ClientTls(ca=tls.certificate)


async def test_where_all_is_well_every_check_says_so(tmp_path: Path) -> None:
    (tmp_path / "app.log").touch()
    async with secure_plane(tmp_path) as (plane, trust):
        found = await doctor(tmp_path, plane.address, str(tmp_path / "*.log"), tls=trust)
        checks = "dns proxy tcp alpn certificate name issuer plane clock token data disk logs"
        assert list(found) == checks.split()
        assert {finding.verdict for finding in found.values()} == {Verdict.OK}
        assert not (tmp_path / "data").exists()


async def test_an_address_that_is_none_and_plain_text_off_loopback_are_told(tmp_path: Path) -> None:
    is_wrong(await doctor(tmp_path, "nowhere"), "server", "not host:port")
    is_wrong(await doctor(tmp_path, "h.example.com:1"), "server", "not on loopback")
    is_wrong(await doctor(tmp_path, ""), "server", "--server", verdict=Verdict.WARN)


async def test_a_name_without_an_address_and_a_port_without_a_listener_are_told(tmp_path: Path) -> None:
    is_wrong(await doctor(tmp_path, "https://nowhere.invalid"), "dns", "nowhere.invalid has no address")
    async with FakeControlPlane(token=TOKEN) as plane:
        closed = plane.address
    found = await doctor(tmp_path, closed)
    is_wrong(found, "tcp", "refused", "firewall")
    assert "could not be asked" in found["token"].found


@pytest.mark.parametrize(
    ("refuses", "said"), [("407 Proxy Authentication Required", "USER:PASSWORD"), ("403 Forbidden", "allow CONNECT")]
)
async def test_a_proxy_that_refuses_is_told_by_its_variable(tmp_path: Path, refuses: str, said: str) -> None:
    async with Connect("127.0.0.1:9", refuses=refuses).serving() as proxy:
        environment = {"HTTPS_PROXY": f"http://ann:secret@{proxy.address}"}
        found = await doctor(tmp_path, "https://plane.test", environment=environment)
        is_wrong(found, "proxy", refuses, said, "HTTPS_PROXY")
        assert "secret" not in str(found)
        assert "proxy-authorization" in proxy.asked[0][1]


async def test_a_proxy_that_cannot_be_and_one_that_is_not_there_are_told(tmp_path: Path) -> None:
    for url, said in (("https://p:1", "https:// is not known"), ("http://127.0.0.1:9", "refused")):
        is_wrong(await doctor(tmp_path, "https://127.0.0.2.test", environment={"HTTPS_PROXY": url}), "proxy", said)


async def test_a_proxy_that_opens_tls_is_told_by_who_issued_what_it_shows(tmp_path: Path) -> None:
    ours = make_certificate(tmp_path, "ours", names="DNS:plane.test")
    async with secure_plane(tmp_path, "DNS:plane.test") as (stranger, _):
        async with Connect(stranger.address).serving() as proxy:
            environment = {"HTTPS_PROXY": f"http://{proxy.address}"}
            tls = ClientTls(ca=ours.read_bytes())
            found = await doctor(tmp_path, "https://plane.test", environment=environment, tls=tls)
            is_wrong(found, "issuer", "CN=test, whom --tls-ca do not vouch for", "opens TLS")


async def test_a_plane_without_tls_is_told(tmp_path: Path) -> None:
    async with FakeControlPlane(token=TOKEN) as plane:
        is_wrong(await doctor(tmp_path, plane.address, tls=ClientTls()), "tls", "--tls-cert")


async def test_a_certificate_for_another_name_is_told_with_the_names_that_it_has(tmp_path: Path) -> None:
    async with secure_plane(tmp_path, "DNS:other.test,DNS:*.wild.test") as (plane, trust):
        is_wrong(await doctor(tmp_path, plane.address, tls=trust), "name", "other.test, *.wild.test", "127.0.0.1")


@pytest.mark.parametrize(
    ("after", "verdict", "said"),
    [
        (timedelta(days=31), Verdict.FAIL, "expired"),
        (timedelta(days=-1), Verdict.FAIL, "good only from"),
        (timedelta(days=27), Verdict.WARN, "expires at"),
    ],
    ids=["expired", "early", "soon"],
)
async def test_a_certificate_out_of_its_time_and_soon_out_of_it_is_told(
    tmp_path: Path, after: timedelta, verdict: Verdict, said: str
) -> None:
    async with secure_plane(tmp_path) as (plane, trust):
        found = await doctor(tmp_path, plane.address, tls=trust, now=NOW + after)
        assert (found["certificate"].verdict, said in found["certificate"].found) == (verdict, True)


async def test_an_ingress_without_http_2_is_told(tmp_path: Path) -> None:
    certificate = make_certificate(tmp_path, "server")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key_of(certificate))
    server = await asyncio.start_server(lambda reader, writer: writer.close(), "127.0.0.1", 0, ssl=context)
    async with server:
        address = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
        found = await doctor(tmp_path, address, tls=ClientTls(ca=certificate.read_bytes()))
        assert found["alpn"].verdict is Verdict.FAIL
        assert "h2" in found["alpn"].advice
        assert "plane" not in found


async def test_something_else_than_a_control_plane_is_told(tmp_path: Path) -> None:
    async with FakeControlPlane(token=TOKEN) as plane:
        is_wrong(await doctor(tmp_path, f"http://{plane.address}/prefix"), "plane", "prefix", "--channel")


async def test_a_clock_that_differs_from_the_planes_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answers, "formatdate", lambda usegmt: "Thu, 01 Jan 2026 00:10:00 GMT")
    then = datetime(2026, 1, 1, tzinfo=UTC)
    async with FakeControlPlane(token=TOKEN) as plane:
        is_wrong(await doctor(tmp_path, plane.address, now=then), "clock", "600 s behind", verdict=Verdict.WARN)


async def test_a_token_that_is_refused_missing_or_not_needed_is_told(tmp_path: Path) -> None:
    async with FakeControlPlane(token=TOKEN) as plane:
        is_wrong(await doctor(tmp_path, plane.address, token="hrb_t2.secret"), "token", "not known")
        is_wrong(await doctor(tmp_path, plane.address, token="other"), "token", "copied whole")
        is_wrong(await doctor(tmp_path, plane.address, token=""), "token", "none is given")
        is_wrong(await doctor(tmp_path, plane.address, token_file=tmp_path / "no"), "token", "--token-file")
        _enrolled(tmp_path / "data")
        for token in ("", "hrb_t2.secret"):
            found = await doctor(tmp_path, plane.address, token=token)
            assert found["token"].verdict is Verdict.OK
            assert found["identity"].found == "agent a-1"


async def test_the_control_plane_is_asked_about_a_service_account_too(tmp_path: Path) -> None:
    (tmp_path / "account").write_text("e.y.J")
    asking: Any = {"token": "", "kubernetes_token_file": tmp_path / "account"}
    async with FakeControlPlane(token="") as plane:
        found = await doctor(tmp_path, plane.address, **asking)
        good = "that of a service account, good for this agent; it was not used up"
        assert found["token"] == Finding.ok("token", good)
        assert [dict(request.claims) for request in plane.enrolments] == [{"enrol": "check", "kubernetes": "e.y.J"}]
    found = await doctor(tmp_path, plane.address, **asking)  # nobody is there any more
    assert found["token"].found == "that of a service account; the control plane could not be asked about it"
    async with FakeControlPlane(token=TOKEN) as plane:
        is_wrong(await doctor(tmp_path, plane.address, **asking), "token", "not known", "--kubernetes-agents")


def _enrolled(folder: Path) -> None:
    state = State(folder)
    state.open()
    state.save_identity(Identity(agent_id="a-1", credential="secret", certificate_until=NOW - timedelta(days=1)))
    state.save_identity(replace(state.identity, certificate_until=None))
    state.close()


def test_faults_of_the_host_are_told(tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    log.touch()

    def faults(*findings: Finding) -> list[tuple[str, Verdict]]:
        return [(each.check, each.verdict) for each in findings if each.verdict is not Verdict.OK]

    def closed(path: str, mode: int) -> bool:
        return False

    def data(folder: Path, **more: Any) -> list[Finding]:
        return of_data_folder(folder, **{"spool_bytes": 1, "now": NOW, **more})

    fail, warn = Verdict.FAIL, Verdict.WARN
    assert faults(*data(tmp_path / "new")) == []
    assert faults(*data(log / "below")) == [("data", fail)]
    assert faults(*data(tmp_path, access=closed)) == [("data", fail)]
    assert faults(*data(tmp_path, spool_bytes=1 << 60)) == [("disk", warn)]
    (tmp_path / "identity.json").write_text("{}")
    assert faults(*data(tmp_path)) == [("identity", fail)]
    (tmp_path / "identity.json").unlink()
    assert faults(*of_log_paths([str(log)])) == []
    assert faults(*of_log_paths([str(log)], access=closed)) == [("logs", fail)]
    assert faults(*of_log_paths([str(tmp_path / "none*")])) == [("logs", warn)]


def test_a_full_disk_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    full = shutil.disk_usage(tmp_path)._replace(free=1 << 20)
    monkeypatch.setattr(shutil, "disk_usage", lambda place: full)
    found = {each.check: each for each in of_data_folder(tmp_path, spool_bytes=1, now=NOW)}
    assert (found["disk"].verdict, found["disk"].found) == (Verdict.FAIL, "1 MiB are free")


def test_the_command_prints_a_line_each_or_json_and_its_status_says_whether_something_fails(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["doctor", "--data-dir", str(tmp_path)]) == 0
    assert capsys.readouterr().out.startswith("warn  server")
    assert cli.main(["doctor", "--data-dir", str(tmp_path), "--server", "nowhere", "-o", "json"]) == 1
    first = json.loads(capsys.readouterr().out)[0]
    assert (first["check"], first["verdict"]) == ("server", "fail")
