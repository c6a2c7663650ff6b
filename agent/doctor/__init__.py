"""`headrace-agent doctor`: what is wrong between here and the control plane, a finding for each thing that it takes.

It changes nothing: it enrols nobody, uses no token up, and leaves nothing in the data folder.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from datetime import datetime

from agent.doctor.finding import Finding, Verdict
from agent.doctor.host import of_data_folder, of_log_paths
from agent.doctor.line import of_line
from agent.doctor.plane import of_plane, of_token, of_token_here
from agent.settings import Settings

__all__ = ["Finding", "Verdict", "examine"]


async def examine(
    settings: Settings, log_paths: Sequence[str], *, now: datetime, environment: Mapping[str, str] = os.environ
) -> list[Finding]:
    """What was found, in the order in which one thing needs the other; after a break in the line no more of it."""
    findings: list[Finding] = []
    if settings.server:
        findings += of_line(settings.server, settings.tls, insecure=settings.insecure, now=now, environment=environment)
        if all(finding.verdict is not Verdict.FAIL for finding in findings):
            findings += await of_plane(settings, now=now)
        is_whole = all(finding.verdict is not Verdict.FAIL for finding in findings)
        findings.append(await of_token(settings) if is_whole else of_token_here(settings))
    else:
        findings.append(Finding.warn("server", "none is given", "say where the control plane is, by --server"))
    findings += of_data_folder(settings.data_dir, spool_bytes=settings.spool_bytes, now=now)
    findings += of_log_paths([*log_paths, *(path for path in settings.policy.read if path.startswith("/"))])
    return findings
