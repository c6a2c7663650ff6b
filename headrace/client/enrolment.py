"""How an agent gets its identity."""

from __future__ import annotations

from headrace.client.channel import INSECURE_FLAG
from headrace.connection import Connection
from headrace.messages import EnrollRequest, EnrollResponse
from headrace.rpcs.channel import CHANNEL
from headrace.security import ClientTls


async def enroll(
    target: str,
    request: EnrollRequest,
    *,
    tls: ClientTls | None = None,
    insecure: bool = False,
    timeout: float = 30.0,
) -> EnrollResponse:
    """Swaps a bootstrap token for an identity. Raises UnauthenticatedError, UnavailableError, OverloadedError."""
    connection = Connection(target, tls=tls, insecure=insecure, insecure_flag=INSECURE_FLAG)
    try:
        response: EnrollResponse = await connection.unary(CHANNEL["Enroll"], request, timeout=timeout)
        return response
    finally:
        await connection.close()
