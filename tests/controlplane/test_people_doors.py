"""The doors of people on a real plane: by certificate, by a proxy's word, and what is recorded of who it was."""

from __future__ import annotations

from argparse import ArgumentParser
from pathlib import Path
from typing import Any

import grpc.aio
import pytest
from cryptography import x509

from controlplane.flags import add_flags, settings_of
from controlplane.identity.proxies import Proxies
from controlplane.settings import Door, Settings
from headrace import api, codec
from headrace.errors import ForbiddenError, InvalidError, UnauthenticatedError, UnavailableError
from headrace.management import ManagementClient
from headrace.rpcs.management import MANAGEMENT
from headrace.security import ClientTls, ServerTls
from headrace.types import KnownBy, Role
from tests.certificates import LOOPBACK, Issuer
from tests.controlplane.conftest import Plane, Start, manifest
from tests.servers import Nginx, free_port


@pytest.fixture(scope="module")
def issuer() -> Issuer:
    return Issuer()


@pytest.fixture(scope="module")
def secure(issuer: Issuer) -> dict[str, Any]:
    """Settings of a plane with a door for certificates, and how to trust it."""
    certificate, key = issuer.issue("plane", LOOPBACK)
    return {
        "tls": ServerTls(certificate=certificate, key=key),
        "trust": ClientTls(ca=issuer.certificate),
        "grpc_mtls": Door(address="127.0.0.1:0"),
        "client_ca": issuer.certificate,
    }


def by_certificate(
    plane: Plane, issuer: Issuer, shown: tuple[bytes, bytes] | None, token: str = ""
) -> ManagementClient:
    certificate, key = shown or (b"", b"")
    assert plane.trust is not None
    tls = ClientTls(ca=plane.trust.ca, certificate=certificate, key=key)
    return ManagementClient(plane.running.ready.grpc_mtls, token, tls=tls)


async def test_people_get_in_by_their_certificates_and_out_at_once(
    start: Start, secure: dict[str, Any], issuer: Issuer
) -> None:
    async with start(**secure) as plane:
        for name, subject in (("ann", "ann@example.com"), ("uri", "https://example.com/people/uri"), ("cem", "Cem")):
            await plane.client.create_user(name, Role.EDIT, known_by=KnownBy.CERTIFICATE, subject=subject)
        shown = {
            "ann": issuer.issue("Ann", x509.RFC822Name("ann@example.com"), x509.UniformResourceIdentifier("urn:x")),
            "uri": issuer.issue("Uri", x509.UniformResourceIdentifier("https://example.com/people/uri")),
            "cem": issuer.issue("Cem"),
        }
        for name, certificate in shown.items():
            async with by_certificate(plane, issuer, certificate) as client:
                await client.apply_pipelines([manifest(name)])
                (revision,) = await client.list_revisions(name)
                assert (revision.author, revision.author_known_by) == (name, KnownBy.CERTIFICATE)
                with pytest.raises(ForbiddenError, match=f"'{name}' has role 'edit', and create user needs 'admin'"):
                    await client.create_user("eve", Role.ADMIN)
                told = (await plane.events())[:2]
                assert {event.kind: event.actor_known_by for event in told} == {
                    "pipeline.applied": KnownBy.CERTIFICATE,
                    "user.refused": KnownBy.CERTIFICATE,
                }
                assert {(event.actor, event.source) for event in told} == {(name, "127.0.0.1")}
                await plane.client.revoke_user(name)
                with pytest.raises(UnauthenticatedError, match=f"user '{name}', certificate .* was revoked"):
                    await client.list_pipelines()


async def test_a_certificate_of_nobody_or_of_another_authority_or_at_the_other_door_opens_nothing(
    start: Start, secure: dict[str, Any], issuer: Issuer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    async with start(**secure) as plane:
        monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "of somebody else"))
        await plane.client.create_user("ann", Role.ADMIN, known_by=KnownBy.CERTIFICATE, subject="ann")
        ann = issuer.issue("ann")
        async with by_certificate(plane, issuer, issuer.issue("eve")) as client:
            with pytest.raises(UnauthenticatedError, match="certificate 'eve' is no user here"):
                await client.list_pipelines()
        for stolen in (Issuer().issue("ann"), None):
            async with by_certificate(plane, issuer, stolen, plane.running.token) as client:
                with pytest.raises(UnavailableError):
                    await client.list_pipelines()
        tls = ClientTls(ca=issuer.certificate, certificate=ann[0], key=ann[1])
        async with ManagementClient(plane.running.ready.grpc, tls=tls) as client:
            with pytest.raises(UnauthenticatedError, match="the management API needs a token"):
                await client.list_pipelines()
        async with by_certificate(plane, issuer, ann, plane.running.token) as client:
            await client.create_token()
        assert (await plane.events("token.created"))[0].actor_known_by is KnownBy.LOCAL


async def call(plane: Plane, rpc: str, request: object, *headers: tuple[str, str]) -> Any:
    """A call with these headers and no token."""
    async with grpc.aio.insecure_channel(plane.running.ready.grpc) as channel:
        data = await channel.unary_unary(MANAGEMENT[rpc].path)(codec.encode(request), metadata=headers)
        return codec.decode(MANAGEMENT[rpc].response, data)


async def test_a_trusted_proxy_says_who_it_is_and_anybody_else_is_not_believed(start: Start) -> None:
    proxies = Proxies(networks=("127.0.0.0/8",), groups="x-forwarded-groups")
    async with start(proxies=proxies) as plane:
        await plane.client.create_user("web", Role.EDIT, known_by=KnownBy.GROUP, subject="web")
        who = (("x-forwarded-user", "gus"), ("x-forwarded-groups", "staff,web"), ("x-forwarded-for", "203.0.113.9"))
        await call(plane, "ApplyPipelines", api.ApplyPipelinesRequest(manifests=(manifest(),)), *who)
        event = (await plane.events("pipeline.applied"))[0]
        assert (event.actor, event.actor_known_by) == ("gus", KnownBy.HEADER)
        assert event.source == "203.0.113.9 through 127.0.0.1"
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await call(plane, "ListPipelines", api.ListPipelinesRequest(), ("x-forwarded-user", "eve"))
        assert refused.value.code() is grpc.StatusCode.UNAUTHENTICATED
    async with start(proxies=Proxies(networks=("10.0.0.0/8",))) as plane:
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await call(plane, "ListPipelines", api.ListPipelinesRequest(), *who)
        assert refused.value.code() is grpc.StatusCode.UNAUTHENTICATED
        kinds = [event.kind for event in await plane.events()][:2]
        assert kinds == ["user.unauthenticated", "user.header_ignored"]


def ingress(port: int, plane: int, login: int) -> str:
    """As docs/identity.md shows it; a second server stands for the login proxy, which knows one token."""
    return f"""
  server {{
    listen 127.0.0.1:{port} http2;
    location / {{
      auth_request /login;
      auth_request_set $user $upstream_http_x_auth_request_user;
      auth_request_set $groups $upstream_http_x_auth_request_groups;
      grpc_set_header x-forwarded-user $user;
      grpc_set_header x-forwarded-groups $groups;
      grpc_set_header x-forwarded-for $proxy_add_x_forwarded_for;
      grpc_set_header authorization "";
      grpc_pass grpc://127.0.0.1:{plane};
    }}
    location = /login {{
      internal;
      proxy_pass http://127.0.0.1:{login}/oauth2/auth;
      proxy_pass_request_body off;
      proxy_set_header content-length "";
    }}
  }}
  server {{
    listen 127.0.0.1:{login};
    if ($http_authorization != "Bearer of gus") {{ return 401; }}
    add_header x-auth-request-user gus always;
    add_header x-auth-request-groups staff,web always;
    location / {{ return 202; }}
  }}"""


async def test_through_an_nginx_that_asks_for_a_login_it_is_whom_the_login_names(start: Start, tmp_path: Path) -> None:
    async with start(proxies=Proxies(networks=("127.0.0.1/32",), groups="x-forwarded-groups")) as plane:
        await plane.client.create_user("web", Role.EDIT, known_by=KnownBy.GROUP, subject="web")
        port, own = free_port(), int(plane.running.ready.grpc.rpartition(":")[2])
        with Nginx.installed(tmp_path / "nginx", ingress(port, own, free_port())):
            async with ManagementClient(f"127.0.0.1:{port}", "of gus") as client:
                await client.apply_pipelines([manifest()])
                with pytest.raises(ForbiddenError, match="'gus' has role 'edit', and list users needs 'admin'"):
                    await client.list_users()
            async with ManagementClient(f"127.0.0.1:{port}", plane.running.token) as client:
                with pytest.raises(UnauthenticatedError):
                    await client.list_pipelines()
            async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
                spoofed = (("authorization", "Bearer of gus"), ("x-forwarded-user", "root"))
                path = MANAGEMENT["ListUsers"].path
                with pytest.raises(grpc.aio.AioRpcError, match="'gus' has role 'edit'"):
                    await channel.unary_unary(path)(codec.encode(api.ListUsersRequest()), metadata=spoofed)
                page = (("authorization", "Bearer of gus"), ("origin", "https://evil.example"))
                with pytest.raises(grpc.aio.AioRpcError, match="a web page from elsewhere may not use"):
                    await channel.unary_unary(path)(codec.encode(api.ListUsersRequest()), metadata=page)
        event = (await plane.events("pipeline.applied"))[0]
        assert (event.actor, event.actor_known_by, event.source) == (
            "gus",
            KnownBy.HEADER,
            "127.0.0.1 through 127.0.0.1",
        )


async def test_an_authority_that_is_added_lets_its_people_in_without_a_restart(
    start: Start, secure: dict[str, Any], issuer: Issuer
) -> None:
    other, trusted = Issuer("other people"), [issuer.certificate]
    async with start(**secure, current_client_ca=lambda: b"".join(trusted)) as plane:
        await plane.client.create_user("ann", Role.READ, known_by=KnownBy.CERTIFICATE, subject="ann")
        shown = other.issue("ann")
        async with by_certificate(plane, issuer, shown) as client:
            with pytest.raises(UnavailableError):
                await client.list_pipelines()
        trusted.append(other.certificate)
        for known in (shown, issuer.issue("ann")):
            async with by_certificate(plane, issuer, known) as client:
                assert await client.list_pipelines() == ()


def test_the_files_of_both_flags_are_read_anew_when_they_change(tmp_path: Path, issuer: Issuer) -> None:
    files = {name: tmp_path / f"{name}.pem" for name in ("cert", "key", "people", "all")}
    for name, data in zip(
        files, (*issuer.issue("plane", LOOPBACK), issuer.certificate, issuer.certificate), strict=True
    ):
        files[name].write_bytes(data)
    parser = ArgumentParser()
    parser.add_argument("--data-dir", type=Path, default=tmp_path)
    parser.add_argument("--state", default="")
    add_flags(parser)
    tls = ["--tls-cert", files["cert"], "--tls-key", files["key"], "--tls-client-ca", files["all"]]
    people = ["--grpc-mtls", "127.0.0.1:0", "--client-ca", files["people"]]
    settings = settings_of(parser.parse_args(list(map(str, (*tls, *people)))))
    assert settings.tls is not None
    assert settings.tls.current_ca is not None
    assert settings.current_client_ca is not None
    assert settings.client_ca == settings.tls.client_ca == settings.current_client_ca() == issuer.certificate
    others = [Issuer("people").certificate, Issuer("all").certificate]
    for name, data in zip(("people", "all"), others, strict=True):
        files[name].write_bytes(data)
    assert [settings.current_client_ca(), settings.tls.current_ca()] == others


def test_settings_that_are_half_a_door_are_refused(data_dir: Any, secure: dict[str, Any]) -> None:
    door, authority = secure["grpc_mtls"], secure["client_ca"]
    for more in ({"grpc_mtls": door}, {"client_ca": authority}):
        with pytest.raises(InvalidError, match="need both --grpc-mtls and --client-ca"):
            Settings(data_dir=data_dir, **more)
    with pytest.raises(InvalidError, match="--grpc-mtls needs a certificate of the server too"):
        Settings(data_dir=data_dir, grpc_mtls=door, client_ca=authority)
