"""What answers at the end of the line: a control plane, its clock, and what it says of the bootstrap token."""

from __future__ import annotations

import re
from datetime import datetime

from agent.doctor.finding import Finding, Verdict
from agent.settings import Settings, SettingsError
from headrace.client.probe import check_token, probe
from headrace.errors import HeadraceError, InvalidError, OverloadedError, UnauthenticatedError
from headrace.types import Facts

_LOOK = re.compile(r"hrb_[^.\s]+\.\S+")
_SKEW_S = 60
"""A signed credential is good for a minute; certificates are good from five minutes before they were made."""


async def of_plane(settings: Settings, *, now: datetime) -> list[Finding]:
    """That it answers, and by how much the clocks differ."""
    try:
        answer = await probe(settings.server, tls=settings.tls, insecure=settings.insecure)
    except HeadraceError as error:
        advice = "is it the port of --channel, and is the prefix, if there is one, taken off by the ingress?"
        return [Finding.fail("plane", error.message, advice)]
    if answer.serving is False:
        advice = "it is stopping, or another replica takes over; agents wait by themselves"
        findings = [Finding.warn("plane", "a control plane answers, and serves nobody now", advice)]
    else:
        findings = [Finding.ok("plane", "a control plane answers" + (", and serves" if answer.serving else ""))]
    if answer.at is None:
        return findings
    behind = round((answer.at - now).total_seconds())
    if abs(behind) <= _SKEW_S:
        return [*findings, Finding.ok("clock", "as the control plane's, to a minute")]
    found = f"{abs(behind)} s {'behind' if behind > 0 else 'ahead of'} the control plane's"
    return [*findings, Finding.warn("clock", found, "set it (NTP); certificates and metrics go by it")]


def of_token_here(settings: Settings) -> Finding:
    """As far as it can be told without the control plane: that there is one, and that it looks like one."""
    try:
        token = settings.bootstrap_token()
        account = "" if token else settings.kubernetes_token()
    except SettingsError as error:
        return Finding.fail("token", error.message, "give the file by --token-file, readable for the agent's user")
    enrolled = (settings.data_dir / "identity.json").exists()
    if not token and enrolled:
        return Finding.ok("token", "none, and none is needed: this agent has enrolled")
    if account:
        return Finding.ok("token", "that of a service account; the control plane could not be asked about it")
    if not token:
        return Finding.fail("token", "none is given, and this agent has not enrolled", "headrace token create")
    if not _LOOK.fullmatch(token):
        return Finding.fail("token", "does not look like hrb_ID.SECRET", "was it copied whole, and alone?")
    return Finding.ok("token", "looks like one; the control plane could not be asked about it")


async def of_token(settings: Settings) -> Finding:
    """What would become of an enrolment; the token is not used up."""
    here = of_token_here(settings)
    if here.verdict is not Verdict.OK:
        return here
    token = settings.bootstrap_token()
    account = "" if token else settings.kubernetes_token()
    enrolled = (settings.data_dir / "identity.json").exists()
    if not token and enrolled:
        return here
    facts = Facts(name=settings.name, labels=settings.labels)
    try:
        await check_token(settings.server, token, facts, account=account, tls=settings.tls, insecure=settings.insecure)
    except OverloadedError as error:
        return Finding.warn("token", error.message, "wait, and ask again")
    except InvalidError as error:
        return Finding.warn("token", f"cannot be asked about: {error.message}", "correct --name or --label, or try it")
    except HeadraceError as error:
        if enrolled and isinstance(error, UnauthenticatedError):
            return Finding.ok("token", "is good for nothing any more, and this agent has enrolled")
        advice = "--kubernetes-agents of the control plane says whom it lets in" if account else "headrace token create"
        return Finding.fail("token", error.message, advice)
    what = "that of a service account, good" if account else "good"
    return Finding.ok("token", f"{what} for this agent; it was not used up")
