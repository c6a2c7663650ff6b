"""Every change leaves one event that names who made it, and every refusal one that says from where; over every RPC."""

from __future__ import annotations

import base64
import os
from collections.abc import Awaitable
from contextlib import aclosing
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest

from agent import keys
from controlplane.identity import people, roles, throttle
from headrace import api
from headrace.client import enroll
from headrace.content import canonical, content_of, sha256_of
from headrace.management import ManagementClient
from headrace.messages import EnrollRequest
from headrace.rpcs.management import MANAGEMENT
from headrace.security import bearer
from headrace.types import Attempt, AttemptState, Facts, Health, KnownBy, Observed, Phase, Role, Running, Severity
from tests.controlplane.conftest import Plane, Start, manifest
from tests.processes import eventually

GUARDED = {method for method, role in roles.NEEDED.items() if role is not Role.READ}
CHANGES = GUARDED - {"list_users"}


class Audit:
    """Makes changes as Ada, and looks at what is told of each."""

    def __init__(self, plane: Plane) -> None:
        self._plane = plane
        self.told: dict[str, Any] = {}

    async def change(self, method: str, call: Awaitable[Any]) -> Any:
        """Makes it, and keeps its one event."""
        before = max((event.revision for event in await self._plane.events()), default=0)
        answer = await call
        found = [event for event in await self._plane.events() if event.revision > before and event.actor]
        assert [(e.actor, e.actor_known_by, e.source) for e in found] == [("ada", KnownBy.TOKEN, "127.0.0.1")], method
        self.told[method] = found[0]
        return answer


def orphan(sha256: str) -> Observed:
    return Observed(
        pipeline="mine",
        desired=1,
        attempt=Attempt(generation=1, state=AttemptState.OK),
        running=Running(generation=1, sha256=sha256, health=Health.HEALTHY),
        good=1,
    )


async def test_every_change_leaves_one_event_that_names_its_caller(start: Start, tmp_path: Path) -> None:
    async with start() as plane:
        audit = Audit(plane)
        token = (await plane.client.create_user("ada", Role.ADMIN)).token
        agent = await plane.agent(name="a-1")
        agent.report(orphan(sha256_of(canonical(content_of(manifest(tag="mine"))))))
        async with agent, ManagementClient(plane.running.ready.grpc, token) as ada:
            await plane.client.apply_pipelines([manifest("same", "nowhere=1", tag="mine")])  # the orphan's content
            await audit.change("apply_pipelines", ada.apply_pipelines([manifest()]))
            await plane.client.apply_pipelines([manifest(tag="u")])
            await audit.change("rollback_pipeline", ada.rollback_pipeline("edge"))
            await audit.change("restart_pipeline", ada.restart_pipeline("edge"))
            await audit.change("retry_pipeline", ada.retry_pipeline("edge"))

            async def orphaned() -> bool:
                (found,) = (await plane.client.get_agent("a-1")).workloads[1:]
                return found.phase is Phase.ORPHANED

            await eventually(orphaned)
            await audit.change("adopt_workload", ada.adopt_workload("mine", "a-1", selector="*"))
            await audit.change("delete_pipelines", ada.delete_pipelines(["edge"]))

            await audit.change(
                "set_variables", ada.set_variables(set=[api.Variable(name="A", value="1", selector="*")])
            )
            await audit.change("set_secret", ada.set_secret("api", b"kingfisher"))
            file = tmp_path / "d/secrets.key"
            file.write_text(f"{base64.b64encode(os.urandom(32)).decode()}\n{file.read_text()}")
            assert await audit.change("rekey_secrets", ada.rekey_secrets()) == 1
            await audit.change("delete_secret", ada.delete_secret("api"))

            made = await audit.change("create_token", ada.create_token())
            await audit.change("revoke_token", ada.revoke_token(made.token.id))
            await audit.change("create_user", ada.create_user("bob", Role.READ))
            await audit.change("revoke_user", ada.revoke_user("bob"))
            await audit.change("set_labels", ada.set_labels("a-1", set={"x": "1"}))
            await audit.change("revoke_agent", ada.revoke_agent("a-1"))

            for name in ("keen", "odd"):
                (tmp_path / name).mkdir()
                facts, csr = Facts(name=name, version="0"), keys.request(tmp_path / name)
                made = await plane.client.create_token(approve=True)
                request = EnrollRequest(token=made.secret, facts=facts, csr=csr)
                await enroll(plane.running.ready.channel, request)
                if name == "keen":  # it gets a certificate, so that its authority does not end by itself
                    await audit.change("approve_agent", ada.approve_agent(name))
                    await enroll(plane.running.ready.channel, request)
            await audit.change("deny_agent", ada.deny_agent("odd"))
            await audit.change("rotate_authority", ada.rotate_authority())
            await audit.change("finish_rotation", ada.finish_rotation())

            async def backup() -> None:
                async with aclosing(ada.backup()) as pieces:
                    assert await anext(pieces)

            await audit.change("backup", backup())
        assert audit.told.keys() == CHANGES
        assert audit.told["set_secret"].message.startswith("secret api, version 1")
        assert "kingfisher" not in repr(await plane.events())


async def test_every_refusal_is_an_event_whatever_was_called(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (people, throttle):
        monkeypatch.setattr(module, "FAILURES", 1000)
    async with start() as plane:
        reader = (await plane.client.create_user("rita", Role.READ)).token
        gone = (await plane.client.create_user("gus", Role.ADMIN)).token
        await plane.client.revoke_user("gus")
        async with grpc.aio.insecure_channel(plane.running.ready.grpc) as channel:

            async def refused(rpc: Any, token: str) -> grpc.StatusCode:
                call = channel.unary_stream if rpc.server_streaming else channel.unary_unary
                answer = call(rpc.path)(b"", metadata=bearer(token))
                with pytest.raises(grpc.aio.AioRpcError) as error:
                    await (answer.read() if rpc.server_streaming else answer)
                return error.value.code()

            expected = []
            for rpc in MANAGEMENT.values():
                for token, why in (("", "needs a token"), ("wrong", "token is wrong"), (gone, "'gus' was revoked")):
                    assert await refused(rpc, token) is grpc.StatusCode.UNAUTHENTICATED
                    expected.append(("user.unauthenticated", "", None, why))
                if rpc.method in GUARDED:
                    assert await refused(rpc, reader) is grpc.StatusCode.PERMISSION_DENIED
                    why = f"{rpc.method.replace('_', ' ')} needs"
                    expected.append(("user.refused", "rita", KnownBy.TOKEN, why))
        events = await plane.client.list_events(limit=1000)
        told = [event for event in reversed(events) if event.severity is Severity.WARNING]
        assert [(e.kind, e.actor, e.actor_known_by) for e in told] == [(kind, who, by) for kind, who, by, _ in expected]
        assert all(why in event.message for event, (*_, why) in zip(told, expected, strict=True))
        assert {event.source for event in told} == {"127.0.0.1"}
