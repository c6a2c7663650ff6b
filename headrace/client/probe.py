"""Asks a control plane how it is, and what it thinks of a bootstrap token, without an identity and leaving no trace."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import grpc.aio

from headrace.client.channel import INSECURE_FLAG
from headrace.client.enrolment import enroll
from headrace.connection import Connection
from headrace.errors import UnauthenticatedError
from headrace.messages import EnrollRequest
from headrace.rpcs.channel import CHANNEL
from headrace.security import ClientTls
from headrace.types import Facts

_HEALTH = "/grpc.health.v1.Health/Check"
_SERVING = b"\x08\x01"
_TIMEOUT_S = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """`serving` is None where health is not served; `at` is the other end's time, where it said it."""

    serving: bool | None
    at: datetime | None


async def probe(target: str, *, tls: ClientTls | None = None, insecure: bool = False) -> Answer:
    """That a control plane is there. Raises HeadraceError that says what is there instead."""
    connection = Connection(target, tls=tls, insecure=insecure, insecure_flag=INSECURE_FLAG)
    try:
        at = None
        call = connection.call(CHANNEL["GetBlob"].path)
        try:
            await call(b"", timeout=_TIMEOUT_S)
        except grpc.aio.AioRpcError as failure:
            error = connection.error(failure)
            if not isinstance(
                error, UnauthenticatedError
            ):  # which is what a control plane says to nobody in particular
                raise error from None
            at = _date([*(failure.initial_metadata() or ()), *(failure.trailing_metadata() or ())])
        try:
            serving = await connection.call(_HEALTH)(b"", timeout=_TIMEOUT_S) == _SERVING
        except grpc.aio.AioRpcError:
            return Answer(serving=None, at=at)
        return Answer(serving=serving, at=at)
    finally:
        await connection.close()


async def check_token(
    target: str,
    token: str,
    facts: Facts,
    *,
    account: str = "",
    tls: ClientTls | None = None,
    insecure: bool = False,
) -> None:
    """Whether an agent of these facts may enrol with it, which is not done. Raises the refusal.

    Without a bootstrap token, by that of a service account.
    """
    # A control plane that does not know the claim refuses the request for its `csr`, before it looks at the token.
    claims = {"enrol": "check"} | ({"kubernetes": account} if account else {})
    request = EnrollRequest(token=token, facts=facts, csr=b"none", claims=claims)
    await enroll(target, request, tls=tls, insecure=insecure, timeout=_TIMEOUT_S)


def _date(headers: list[tuple[str, str | bytes]]) -> datetime | None:
    for name, value in headers:
        if name.lower() == "date" and isinstance(value, str):
            try:
                return parsedate_to_datetime(value).astimezone(UTC)
            except ValueError:
                return None
    return None
