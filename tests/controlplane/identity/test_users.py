"""People's tokens and roles: the table over every RPC, and a real plane that goes by it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from controlplane.identity import Users, roles
from controlplane.model import UserRow
from headrace import api
from headrace.errors import ConflictError, ForbiddenError, InvalidError, NotFoundError, UnauthenticatedError
from headrace.management import ManagementClient
from headrace.rpcs.management import MANAGEMENT
from headrace.types import Role
from tests.controlplane.conftest import Plane, Rules, Start, manifest


def test_every_rpc_has_a_role_and_every_role_an_rpc() -> None:
    assert roles.NEEDED.keys() == {rpc.method for rpc in MANAGEMENT.values()}
    assert set(roles.NEEDED.values()) == set(Role) == set(roles.ORDER)


@pytest.mark.parametrize("method", roles.NEEDED)
@pytest.mark.parametrize("role", Role)
def test_a_role_may_do_what_those_before_it_may_and_no_more(method: str, role: Role) -> None:
    if roles.ORDER.index(role) >= roles.ORDER.index(roles.NEEDED[method]):
        roles.check("ann", role, method)
        return
    with pytest.raises(ForbiddenError, match=f"'ann' has role '{role}', and .* needs '{roles.NEEDED[method]}'"):
        roles.check("ann", role, method)


def test_a_reader_changes_nothing_and_only_an_admin_gives_access() -> None:
    looks = ("list_", "get_", "watch_", "query_", "latest_")
    assert all(method.startswith(looks) for method, role in roles.NEEDED.items() if role is Role.READ)
    assert {method for method in roles.NEEDED if "user" in method} <= {
        method for method, role in roles.NEEDED.items() if role is Role.ADMIN
    }
    with pytest.raises(ForbiddenError):
        roles.check("ann", Role.DEPLOY, "an_rpc_of_a_later_version")


@pytest.fixture
def users(rules: Rules) -> Users:
    return Users(store=rules.store, clock=rules.clock.now)


async def create(users: Users, name: str = "ann", role: Role | None = Role.EDIT, ttl: int = 0) -> str:
    request = api.CreateUserRequest(name=name, role=role, ttl_seconds=ttl)
    return (await users.create(request, author="root")).token


async def test_a_token_says_who_it_is_and_only_its_hash_is_kept(rules: Rules, users: Users) -> None:
    token = await create(users)
    assert await users.known_by(token) == ("ann", Role.EDIT)
    async with rules.store.read() as reader:
        (row,) = await reader.find(UserRow)
    secret = token.partition(".")[2]
    assert secret not in repr((row, await users.list(), await rules.events()))
    assert [(event.kind, event.actor) for event in await rules.events()] == [("user.created", "root")]


async def test_a_token_that_is_not_good_is_refused_with_the_reason(rules: Rules, users: Users) -> None:
    token = await create(users, ttl=60)
    for wrong in (token[:-1] + ("A" if token[-1] != "A" else "B"), token.replace("ann", "bob")):
        with pytest.raises(UnauthenticatedError, match="the token is not known here"):
            await users.known_by(wrong)
    rules.clock.advance(61)
    with pytest.raises(UnauthenticatedError, match="the token of user 'ann' expired at"):
        await users.known_by(token)
    newer = await create(users)  # an expired one may have another
    with pytest.raises(UnauthenticatedError, match="not known"):
        await users.known_by(token)
    with pytest.raises(ConflictError, match="there is a user 'ann' already; revoke it first"):
        await create(users)
    await users.revoke("ann", author="root")
    await users.revoke("ann", author="root")
    with pytest.raises(UnauthenticatedError, match="the token of user 'ann' was revoked"):
        await users.known_by(newer)
    assert [event.kind for event in await rules.events()] == ["user.created", "user.created", "user.revoked"]
    with pytest.raises(NotFoundError, match="there is no user 'anne'; did you mean 'ann'"):
        await users.revoke("anne", author="root")


async def test_a_user_needs_a_name_and_a_role(users: Users) -> None:
    for name, role, message in (("Ann", Role.READ, "user name 'Ann'"), ("ann", None, "needs a role: read, edit")):
        with pytest.raises(InvalidError, match=message):
            await create(users, name, role)


@asynccontextmanager
async def client_of(plane: Plane, name: str, role: Role) -> AsyncIterator[ManagementClient]:
    made = await plane.client.create_user(name, role)
    async with ManagementClient(plane.running.ready.grpc, made.token) as client:
        yield client


async def test_a_plane_goes_by_roles_and_records_who_it_was(start: Start) -> None:
    async with (
        start() as plane,
        client_of(plane, "rita", Role.READ) as rita,
        client_of(plane, "ed", Role.EDIT) as ed,
        client_of(plane, "dan", Role.DEPLOY) as dan,
        client_of(plane, "ada", Role.ADMIN) as ada,
    ):
        await ed.apply_pipelines([manifest()])
        await ed.set_secret("api", b"kingfisher")
        assert [revision.author for revision in await rita.list_revisions("edge")] == ["ed"]
        actors = {event.kind: event.actor for event in await rita.list_events()}
        assert (actors["pipeline.applied"], actors["secret.set"]) == ("ed", "ed")
        with pytest.raises(ForbiddenError, match="'rita' has role 'read', and apply pipelines needs 'edit'"):
            await rita.apply_pipelines([manifest(tag="u")])
        with pytest.raises(ForbiddenError, match="'ed' has role 'edit', and create token needs 'deploy'"):
            await ed.create_token()
        await dan.create_token()
        with pytest.raises(ForbiddenError, match="'dan' has role 'deploy', and backup needs 'admin'"):
            await anext(dan.backup())
        refused = await plane.events("user.refused")
        assert [event.actor for event in refused] == ["dan", "ed", "rita"]

        await ada.revoke_user("ed")
        with pytest.raises(UnauthenticatedError, match="the token of user 'ed' was revoked"):
            await ed.list_pipelines()
        assert {user.name: user.revoked for user in await ada.list_users()} == {
            "ada": False,
            "dan": False,
            "ed": True,
            "rita": False,
        }


async def test_nobody_takes_the_name_of_who_started_the_plane(start: Start) -> None:
    async with start() as plane:
        await plane.client.create_user("ada", Role.ADMIN)
        owner = (await plane.events("user.created"))[0].actor
        with pytest.raises(InvalidError, match="is who started this control plane"):
            await plane.client.create_user(owner, Role.READ)
