"""Who calls the management API: every way to show it, alone and beside others, and every refusal with its event."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest

from controlplane.hosts import Hosts
from controlplane.identity import People, Users
from controlplane.identity.proxies import Proxies
from controlplane.identity.throttle import FAILURES
from headrace import api
from headrace.errors import ConflictError, ForbiddenError, InvalidError, OverloadedError, UnauthenticatedError
from headrace.security import parse_address
from headrace.server import Caller, Shown
from headrace.types import KnownBy, Role
from tests.controlplane.conftest import Rules

PROXY = "ipv4:10.0.0.7:41000"
STRANGER = "ipv4:192.0.2.1:41000"
ANN = ("x-forwarded-user", "ann@example.com")


@pytest.fixture
def users(rules: Rules) -> Users:
    return Users(store=rules.store, clock=rules.clock.now)


@pytest.fixture
def people(rules: Rules, users: Users) -> People:
    return People(
        store=rules.store,
        users=users,
        token="of the plane",
        owner="root",
        hosts=Hosts.of(parse_address("127.0.0.1:8401"), ["headrace.example.com"]),
        proxies=Proxies(networks=("10.0.0.0/8",), groups="x-forwarded-groups"),
        clock=rules.clock.now,
    )


async def make(users: Users, name: str, role: Role, known_by: KnownBy = KnownBy.TOKEN, subject: str = "") -> str:
    request = api.CreateUserRequest(name=name, role=role, known_by=known_by, subject=subject)
    return (await users.create(request, author="root")).token


async def test_each_way_names_its_user_and_a_token_comes_before_a_header_before_a_certificate(
    users: Users, people: People
) -> None:
    token = await make(users, "tom", Role.EDIT)
    await make(users, "ann", Role.DEPLOY, KnownBy.HEADER, "ann@example.com")
    await make(users, "cem", Role.ADMIN, KnownBy.CERTIFICATE, "cem@example.com")
    await make(users, "web", Role.READ, KnownBy.GROUP, "web")
    await make(users, "ops", Role.EDIT, KnownBy.GROUP, "ops")

    async def known(shown: Shown) -> tuple[str, Role, KnownBy | None, str]:
        caller = await people.known(shown)
        assert caller.peer == shown.peer
        return caller.name, caller.role, caller.known_by, caller.source

    everything = Shown(credential=token, peer=PROXY, headers=(ANN,), subject="cem@example.com")
    assert await known(everything) == ("tom", Role.EDIT, KnownBy.TOKEN, "10.0.0.7")
    assert await known(replace(everything, credential="of the plane")) == (
        "root",
        Role.ADMIN,
        KnownBy.LOCAL,
        "10.0.0.7",
    )
    assert await known(replace(everything, credential="")) == ("ann", Role.DEPLOY, KnownBy.HEADER, "10.0.0.7")
    via = (ANN, ("x-forwarded-for", "1.2.3.4, 203.0.113.9"))
    assert (await known(Shown(peer=PROXY, headers=via)))[3] == "203.0.113.9 through 10.0.0.7"
    certified = Shown(peer=PROXY, subject="cem@example.com")
    assert await known(certified) == ("cem", Role.ADMIN, KnownBy.CERTIFICATE, "10.0.0.7")
    grouped = Shown(peer=PROXY, headers=(("x-forwarded-user", "gus"), ("x-forwarded-groups", "web,ops,none")))
    assert await known(grouped) == ("gus", Role.EDIT, KnownBy.HEADER, "10.0.0.7")
    await users.revoke("cem", author="root")
    with pytest.raises(UnauthenticatedError, match=r"user 'cem', certificate 'cem@example\.com', was revoked"):
        await known(certified)


REFUSED: Mapping[str, tuple[Shown, str]] = {
    "nothing": (Shown(), "the management API needs a token"),
    "a wrong token": (Shown(credential="wrong"), "the management token is wrong"),
    "a user's wrong token": (Shown(credential="hru_tom.x"), "the token is not known here"),
    "beside another": (Shown(credential="wrong", subject="cem@example.com"), "the management token is wrong"),
    "certificate": (Shown(subject="eve"), "certificate 'eve' is no user here; .* --certificate 'eve'"),
    "odd certificate": (Shown(subject="e\nve"), "the certificate names nobody who could be shown"),
    "a header of a stranger": (Shown(headers=(ANN,)), "the management API needs a token"),
    "groups of nobody": (
        Shown(peer=PROXY, headers=(("x-forwarded-groups", "web"),)),
        "the proxy at 10.0.0.7 says nothing of who calls in x-forwarded-user",
    ),
    "an unknown user": (
        Shown(peer=PROXY, headers=(("x-forwarded-user", "eve"), ("x-forwarded-groups", "gone"))),
        "header 'eve' is no user here",
    ),
    "a revoked user whose group may": (
        Shown(peer=PROXY, headers=(ANN, ("x-forwarded-groups", "web"))),
        "user 'ann', header 'ann@example.com', was revoked",
    ),
    "two users": (Shown(peer=PROXY, headers=(ANN, ANN)), "more than one header"),
    "a page elsewhere": (
        Shown(credential="of the plane", headers=(("origin", "https://evil.example"),)),
        "a web page from elsewhere may not use the management API",
    ),
}


async def test_a_refusal_says_why_and_is_an_event_that_says_from_where(
    rules: Rules, users: Users, people: People
) -> None:
    await make(users, "ann", Role.ADMIN, KnownBy.HEADER, "ann@example.com")
    await users.revoke("ann", author="root")
    await make(users, "web", Role.READ, KnownBy.GROUP, "web")
    for what, (bare, why) in REFUSED.items():
        shown = replace(bare, peer=bare.peer or STRANGER)
        with pytest.raises(UnauthenticatedError, match=why) as refused:
            await people.known(shown)
        event = (await rules.events())[-1]
        assert (event.kind, event.message, event.actor) == ("user.unauthenticated", refused.value.message, ""), what
        assert event.source == shown.peer.split(":")[1]


async def test_a_header_of_a_stranger_is_ignored_and_told(rules: Rules, users: Users, people: People) -> None:
    token = await make(users, "tom", Role.EDIT)
    await make(users, "cem", Role.READ, KnownBy.CERTIFICATE, "cem")
    assert (await people.known(Shown(peer=STRANGER, headers=(ANN,), subject="cem"))).name == "cem"
    told = (await rules.events())[-1]
    assert (told.kind, told.source) == ("user.header_ignored", "192.0.2.1")
    assert "192.0.2.1 is no trusted proxy" in told.message
    for _ in range(2 * FAILURES):
        await people.known(Shown(peer=STRANGER, headers=(ANN,), subject="cem"))
    ignored = [event for event in await rules.events() if event.kind == "user.header_ignored"]
    assert len(ignored) == FAILURES
    assert (await people.known(Shown(peer=STRANGER, headers=(ANN,), credential=token))).name == "tom"


async def test_a_source_that_fails_often_waits_and_locks_out_nobody(rules: Rules, users: Users, people: People) -> None:
    token = await make(users, "tom", Role.EDIT)
    for _ in range(FAILURES):
        with pytest.raises(UnauthenticatedError):
            await people.known(Shown(credential="wrong", peer=STRANGER))
    for _ in range(FAILURES):
        with pytest.raises(OverloadedError, match=r"too many calls from 192\.0\.2\.1 .* in 60 s, and this one failed"):
            await people.known(Shown(credential="wrong", peer=STRANGER))
    refused = [event for event in await rules.events() if event.kind == "user.unauthenticated"]
    assert len(refused) == FAILURES
    assert refused[-1].message.endswith("further ones of this source are not recorded for a minute")
    assert (await people.known(Shown(credential=token, peer=STRANGER))).name == "tom"
    with pytest.raises(UnauthenticatedError, match="the management token is wrong"):
        await people.known(Shown(credential="wrong", peer="ipv4:192.0.2.2:1"))
    rules.clock.advance(60)
    with pytest.raises(UnauthenticatedError, match="the management token is wrong"):
        await people.known(Shown(credential="wrong", peer=STRANGER))


async def test_what_a_role_does_not_allow_is_told_and_a_flood_of_it_is_not(rules: Rules, people: People) -> None:
    ann = Caller(name="ann", known_by=KnownBy.TOKEN, source="10.0.0.7")
    for _ in range(3 * FAILURES):
        await people.refused(ann, ForbiddenError("no"))
    events = await rules.events()
    assert len(events) == FAILURES
    assert {(e.kind, e.actor, e.actor_known_by, e.source) for e in events} == {
        ("user.refused", "ann", KnownBy.TOKEN, "10.0.0.7")
    }
    assert events[-1].message.endswith("further ones of this user are not recorded for a minute")
    await people.refused(replace(ann, known_by=KnownBy.KUBERNETES), ForbiddenError("no"))
    assert len(await rules.events()) == FAILURES + 1  # another one of that name


async def test_a_subject_is_one_user_and_can_be_shown(users: Users) -> None:
    await make(users, "ann", Role.READ, KnownBy.CERTIFICATE, "ann@example.com")
    with pytest.raises(ConflictError, match=r"certificate 'ann@example\.com' is user 'ann' already"):
        await make(users, "bob", Role.READ, KnownBy.CERTIFICATE, "ann@example.com")
    await make(users, "bob", Role.READ, KnownBy.HEADER, "ann@example.com")
    await users.revoke("ann", author="root")
    await make(users, "anna", Role.READ, KnownBy.CERTIFICATE, "ann@example.com")
    for kind, subject, why in (
        (KnownBy.CERTIFICATE, "", "1 to 253 printable characters"),
        (KnownBy.GROUP, " x", "1 to 253 printable characters"),
        (KnownBy.HEADER, "x" * 254, "1 to 253 printable characters"),
        (KnownBy.TOKEN, "x", "known by a token"),
        (KnownBy.LOCAL, "x", "cannot be known by 'local'"),
        (KnownBy.KUBERNETES, "x", "cannot be known by 'kubernetes'"),
    ):
        with pytest.raises(InvalidError, match=why):
            await make(users, "cid", Role.READ, kind, subject)
