"""Rows for tests: any that Hypothesis can think of, and a fixed set with one of each kind."""

from __future__ import annotations

import types
import typing
from collections.abc import Mapping
from dataclasses import is_dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from hypothesis import strategies as st

from controlplane import model
from controlplane.model import Row, Topic
from controlplane.state.shapes import field_types
from headrace.api import Action
from headrace.types import (
    AgentState,
    Attempt,
    AttemptState,
    CommandKind,
    Engine,
    EngineInfo,
    Facts,
    Fault,
    Health,
    KnownBy,
    Observed,
    Phase,
    Role,
    Running,
    Severity,
    Step,
)

ROW_CLASSES: tuple[type[Any], ...] = typing.get_args(Row)

texts = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=20)
integers = st.integers(-(1 << 63), (1 << 63) - 1)
moments = st.datetimes(datetime(1900, 1, 1), datetime(2500, 1, 1), timezones=st.just(UTC))

_SCALARS: dict[Any, st.SearchStrategy[Any]] = {
    str: texts,
    int: integers,
    bool: st.booleans(),
    bytes: st.binary(max_size=50),
    datetime: moments,
}


def values(kind: Any, **fixed: Any) -> st.SearchStrategy[Any]:
    """Any value of a type that a row may hold; of a dataclass, with the fixed fields as given."""
    if kind in _SCALARS:
        return _SCALARS[kind]
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (types.UnionType, typing.Union):
        return st.one_of(*(st.none() if one is types.NoneType else values(one) for one in arguments))
    if origin is tuple:
        return st.lists(values(arguments[0]), max_size=3).map(tuple)
    if origin is Mapping:
        return st.dictionaries(texts, values(arguments[1]), max_size=3)
    if isinstance(kind, type) and issubclass(kind, StrEnum):
        return st.sampled_from(list(kind))
    assert is_dataclass(kind), kind
    given = {name: st.just(value) for name, value in fixed.items()}
    others = {name: values(hint) for name, hint in field_types(kind).items() if name not in fixed}
    return st.builds(kind, **others, **given)


AT = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)

_FIRST: tuple[Row, ...] = (
    model.PipelineRow(
        name="edge",
        revision=3,
        generation=7,
        sha256="ab" * 32,
        engine=Engine.FLUENT_BIT,
        selector="role=edge,!canary",
        labels={"team": "web"},
        description="the access log, ünïcode",
        created_at=AT,
        updated_at=AT,
    ),
    model.RevisionRow(
        pipeline="edge",
        number=3,
        generation=7,
        sha256="ab" * 32,
        selector="role=edge",
        action=Action.UPDATED,
        author="ann",
        at=AT,
    ),
    model.BlobRow(sha256="ab" * 32, data=bytes(range(256)), at=AT),
    model.AgentRow(
        id="a-1",
        name="node-1",
        state=AgentState.CONNECTED,
        facts=Facts(
            name="node-1",
            labels={"role": "edge"},
            capabilities=("reload",),
            engines=(EngineInfo(engine=Engine.EMBEDDED, version="0.1.0", catalogue_sha256="cd" * 32),),
        ),
        token_labels={"site": "eu"},
        credential_hash="ef" * 32,
        token_id="t-1",
        enrolled_at=AT,
        last_seen=AT,
        state_since=AT,
    ),
    model.SessionRow(
        agent_id="a-1",
        session_id="s-1",
        boot_id="b-2",
        session_number=4,
        replica="r-1",
        lease_until=AT,
        opened_at=AT,
        superseded=("b-0", "b-1"),
    ),
    model.ObservedRow(
        agent_id="a-1",
        pipeline="edge",
        observed=Observed(
            pipeline="edge",
            desired=7,
            attempt=Attempt(
                generation=7,
                state=AttemptState.FAILED,
                step=Step.VALIDATE,
                faults=(Fault(message="filter 'grpe' is not known", plugin="grpe", file="fluent-bit.yaml", line=4),),
                quarantined=True,
                at=AT,
            ),
            running=Running(generation=6, sha256="12" * 32, health=Health.HEALTHY, engine=Engine.EMBEDDED, since=AT),
            good=6,
            notes=("http_port is overridden",),
        ),
        phase=Phase.FAILED,
        changed_at=AT,
    ),
    model.TransitionRow(
        revision=2, at=AT, agent_id="a-1", pipeline="edge", generation=7, before=None, after=Phase.FAILED, message="no"
    ),
    model.TokenRow(id="t-1", secret_hash="34" * 32, created_at=AT, expires_at=AT, uses=1, max_uses=5, author="ann"),
    model.VariableRow(name="HOST", selector="*", value="example.org"),
    model.CommandRow(
        id="c-1", agent_id="a-1", kind=CommandKind.LOGS, pipeline="edge", lines=10, deadline=AT, output=b"log\n"
    ),
    model.ChangeRow(revision=1, topic=Topic.PIPELINE, key="edge", at=AT),
    model.EventRow(revision=2, at=AT, kind="workload.failed", severity=Severity.ERROR, agent_id="a-1", message="why"),
)

ADDED: Mapping[str, tuple[Row, ...]] = {
    "0001": _FIRST,
    "0002": (
        model.AgentRow(
            id="a-9",
            name="node-9",
            state=AgentState.LOST,
            facts=Facts(name="node-9"),
            credential_hash="56" * 32,
            token_id="t-9",
            enrolled_at=AT,
            state_since=AT,
            scope="role=edge",
            public_key="MFkw",
            serial="0a",
            next_hash="78" * 32,
            next_key="MFkx",
            next_serial="0b",
        ),
        model.SessionRow(
            agent_id="a-9",
            session_id="s-9",
            boot_id="b-9",
            session_number=1,
            replica="r-1",
            lease_until=AT,
            opened_at=AT,
            shown="certificate",
        ),
        model.TokenRow(
            id="t-9",
            secret_hash="9a" * 32,
            created_at=AT,
            expires_at=AT,
            max_uses=0,
            max_agents=50,
            scope="role in (edge,hub)",
            networks=("10.0.0.0/8", "fd00::/8"),
        ),
        model.CertificateRow(
            serial="0a", agent_id="a-9", issued_at=AT, expires_at=AT, revoked_at=AT, reason="replaced"
        ),
    ),
    "0003": (
        model.SecretRow(
            name="api-token", version=2, value=bytes(range(61)), author="ann", created_at=AT, updated_at=AT
        ),
        model.SecretRow(name="gone", version=1, value=b"", deleted=True, author="bob", created_at=AT, updated_at=AT),
    ),
    "0004": (
        model.UserRow(name="ann", role=Role.EDIT, token_hash="bc" * 32, author="root", created_at=AT),
        model.UserRow(name="bot", role=Role.READ, token_hash="de" * 32, revoked=True, created_at=AT, expires_at=AT),
    ),
    "0005": (
        model.AuthorityRow(fingerprint="f0" * 32, number=1, certificate=b"pem", added_at=AT, ended_at=AT),
        model.AuthorityRow(fingerprint="f1" * 32, number=2, certificate=b"pem", added_at=AT),
        model.CertificateRow(serial="0c", agent_id="a-9", issued_at=AT, expires_at=AT, authority="f1" * 32),
    ),
    "0006": (
        model.ApplicationRow(
            id="a-7",
            public_key="MFkw",
            name="node-7",
            facts=Facts(name="node-7"),
            token_id="t-7",
            source="10.0.0.7",
            claimed="a-9",
            asked_at=AT,
            expires_at=AT,
            verdict=model.Verdict.APPROVED,
            replaces="a-9",
            author="ann",
            reason="known",
        ),
        model.TokenRow(id="t-7", secret_hash="bd" * 32, created_at=AT, expires_at=AT, approve=True),
    ),
    "0007": (
        model.UserRow(
            name="cem",
            role=Role.ADMIN,
            token_hash="",
            created_at=AT,
            known_by=KnownBy.CERTIFICATE,
            subject="cem@example.com",
        ),
        model.RevisionRow(
            pipeline="edge",
            number=7,
            generation=7,
            sha256="ab" * 32,
            selector="*",
            action=Action.UPDATED,
            author="cem",
            at=AT,
            author_known_by=KnownBy.CERTIFICATE,
        ),
        model.EventRow(
            revision=1,
            at=AT,
            kind="secret.set",
            actor="cem",
            actor_known_by=KnownBy.CERTIFICATE,
            source="10.0.0.7",
            message="secret api-token",
        ),
    ),
}
"""The rows of each schema: what became possible with it."""

ONE_OF_EACH: tuple[Row, ...] = tuple(row for rows in ADDED.values() for row in rows)


def key_of(row: Row) -> tuple[Any, ...]:
    return tuple(getattr(row, name) for name in row.KEY)
