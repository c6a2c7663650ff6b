"""Bytes of past releases, kept as they were: what an agent or control plane in the field sends is still understood.

`python -m tests.headrace.test_wire_compatibility` prints the bytes of this version; a release adds them to `golden/`
under its number. A file that is there is never edited.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, get_args

import pytest

from headrace import codec, messages
from headrace.messages import (
    Answer,
    Authorities,
    Challenge,
    Close,
    Command,
    Complete,
    Desired,
    Drain,
    EnrollRequest,
    EnrollResponse,
    GetBlobRequest,
    GetBlobResponse,
    Goodbye,
    Heartbeat,
    Hello,
    Proof,
    PutBlobRequest,
    PutBlobResponse,
    Remove,
    ReportRequest,
    ReportResponse,
    Samples,
    Secret,
    Secrets,
    Series,
    Variables,
    Welcome,
    Workloads,
)
from headrace.types import (
    Attempt,
    AttemptState,
    CloseReason,
    CommandKind,
    Encoding,
    Engine,
    EngineInfo,
    Facts,
    Fault,
    Health,
    Observed,
    Running,
    Severity,
    Step,
)

GOLDEN = Path(__file__).parent / "golden"
NOW = datetime(2026, 11, 22, 10, 30, 0, 250_000, tzinfo=UTC)
FACTS = Facts(
    name="edge-1",
    version="0.1.0",
    os="linux",
    arch="x86_64",
    labels={"role": "edge"},
    capabilities=("reload",),
    engines=(EngineInfo(engine=Engine.FLUENT_BIT, version="5.1.1", catalogue_sha256="cd" * 32),),
)
FAULT = Fault(
    message="unknown property 'Pth'",
    plugin="tail",
    property="Pth",
    file="pipeline.yaml",
    line=4,
    column=7,
    severity=Severity.ERROR,
)
OBSERVED = Observed(
    pipeline="nginx",
    desired=42,
    attempt=Attempt(
        generation=42,
        state=AttemptState.FAILED,
        step=Step.VALIDATE,
        faults=(FAULT,),
        quarantined=True,
        retry_at=NOW,
        at=NOW,
    ),
    running=Running(
        generation=41,
        sha256="ab" * 32,
        health=Health.HEALTHY,
        engine=Engine.EMBEDDED,
        since=NOW,
        restarts=2,
        message="ready",
    ),
    good=41,
    notes=("http_port is managed",),
)
# One of each, every field set to something else than its default, and at most one entry per map.
SAMPLES: tuple[Any, ...] = (
    EnrollRequest(token="hrt.1.secret", facts=FACTS, csr=b"csr", claims={"agent": "a-0"}),
    EnrollResponse(
        pending_until=NOW,
        agent_id="a-1",
        credential="hra.1.secret",
        certificate=b"pem",
        ca_bundle=b"ca",
        instance_id="i-1",
    ),
    Hello(
        agent_id="a-1",
        boot_id="b-1",
        session_number=3,
        instance_id="i-1",
        epoch=2,
        protocol_min=1,
        protocol_max=2,
        facts_digest="f" * 32,
        workloads_digest="e" * 32,
    ),
    Proof(signature=b"signed"),
    FACTS,
    Workloads(observed=(OBSERVED,), complete=True),
    Heartbeat(reply=True),
    Answer(command_id="c-1", ok=True, message="done", output=b"lines"),
    Goodbye(message="stopping"),
    Welcome(
        session_id="s-1",
        instance_id="i-1",
        epoch=2,
        protocol=1,
        heartbeat_ms=20_000,
        want_facts=True,
        want_workloads=True,
        metrics=True,
        max_message_bytes=4 << 20,
    ),
    Challenge(nonce=b"nonce"),
    Desired(
        pipeline="nginx", generation=42, sha256="ab" * 32, encoding=Encoding.DEFLATE, size=2_000, payload=b"deflated"
    ),
    Remove(pipeline="nginx", generation=43, purge=True),
    Variables(labels={"role": "edge"}, values={"REGION": "eu"}),
    Secrets(secrets=(Secret(name="s3", version=7, value=b"key"),)),
    Authorities(ca_bundle=b"pem", renew_within_ms=1_000),
    Complete(fleet_revision=99),
    Drain(window_ms=10_000, message="upgrade"),
    Command(id="c-1", kind=CommandKind.LOGS, pipeline="nginx", deadline=NOW, lines=100, sha256="ab" * 32),
    Close(reason=CloseReason.DUPLICATE_IDENTITY, message="another process", retry_after_ms=60_000),
    ReportRequest(
        sequence=5,
        series=(Series(id=1, name="fluentbit_input_records_total", tags={"plugin": "tail.0"}),),
        samples=(Samples(at=NOW, series=(1,), values=(1_000.0,)),),
    ),
    ReportResponse(stored=5, retry_after_ms=100),
    GetBlobRequest(sha256="ab" * 32, offset=1_024),
    GetBlobResponse(data=b"piece"),
    PutBlobRequest(sha256="ab" * 32, size=5, data=b"piece"),
    PutBlobResponse(),
)
BY_NAME = {type(sample).__name__: sample for sample in SAMPLES}
RELEASES = sorted(GOLDEN.glob("wire-*.json"))


def test_there_is_a_sample_of_every_message_of_the_channel() -> None:
    bodies = {*get_args(messages.AgentMessage), *get_args(messages.ServerMessage)}
    calls = {cls for name, cls in vars(messages).items() if name.endswith(("Request", "Response"))}
    assert {type(sample) for sample in SAMPLES} == bodies | calls


@pytest.mark.parametrize("name", sorted(BY_NAME))
@pytest.mark.parametrize("release", RELEASES, ids=lambda path: path.stem)
def test_what_a_release_sent_is_still_understood(release: Path, name: str) -> None:
    frozen = json.loads(release.read_text())
    if name in frozen:  # a later release may know more messages
        assert codec.decode(type(BY_NAME[name]), bytes.fromhex(frozen[name])) == BY_NAME[name]


@pytest.mark.parametrize("name", sorted(BY_NAME))
def test_what_a_later_release_adds_is_passed_over(name: str) -> None:
    """Fields of every wire type under a number that nobody has yet, before and after the known ones."""
    known = codec.encode(BY_NAME[name])
    later = b"\xf8\x3f\x01" + b"\xf9\x3f" + bytes(8) + b"\xfa\x3f\x02hi" + b"\xfd\x3f" + bytes(4)
    assert codec.decode(type(BY_NAME[name]), later + known + later) == BY_NAME[name]


@pytest.mark.parametrize("release", RELEASES, ids=lambda path: path.stem)
def test_what_this_version_sends_is_what_a_release_knows(release: Path) -> None:
    frozen = json.loads(release.read_text())
    assert {name: codec.encode(BY_NAME[name]).hex() for name in frozen} == frozen


def test_the_first_release_is_kept() -> None:
    assert [path.name for path in RELEASES][:1] == ["wire-0.1.0.json"]


if __name__ == "__main__":
    print(json.dumps({name: codec.encode(sample).hex() for name, sample in BY_NAME.items()}, indent=0))
