"""The agent's state on disk: what was kept is there again, whole, and a disk that fails loses nothing that was kept."""

from __future__ import annotations

import json
import os
import stat
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent import state as state_module
from agent.model import Child, Identity, Plane, Record, Removal, Run, Target
from agent.records import dump, load
from agent.state import State, StateError
from headrace.content import sha256_of
from headrace.types import Attempt, AttemptState, Engine, Fault, Severity, Step

WHEN = datetime(2026, 1, 2, 3, 4, 5, 678, tzinfo=UTC)
RECORD = Record(
    pipeline="p",
    desired=Target(3, "c"),
    removal=Removal(generation=2, purge=True, at=WHEN),
    attempt=Attempt(
        generation=3,
        state=AttemptState.FAILED,
        step=Step.APPLY,
        faults=(Fault(message="m", plugin="x", line=3, severity=Severity.WARNING),),
        retry_at=WHEN,
    ),
    attempt_basis="b",
    run=Run(
        target=Target(1, "a"),
        basis="b",
        engine=Engine.EMBEDDED,
        child=Child(pid=1, start_time=2, port=3, config="headrace.yaml"),
        since=WHEN,
    ),
    good=Target(1, "a"),
    restarts=4,
    notes=("n",),
)


@pytest.fixture
def state(data_dir: Path) -> Any:
    state = State(data_dir)
    state.open()
    yield state
    state.close()


def reopened(state: State) -> State:
    state.close()
    again = State(state.folder)
    again.open()
    again.close()
    return again


def test_what_was_kept_is_there_after_a_restart(state: State) -> None:
    state.save_identity(Identity(agent_id="a-1", credential="secret", instance_id="i"))
    state.save_plane(Plane(instance_id="i", epoch=3, labels={"a": "b"}, values={"X": "y"}))
    state.save(RECORD)
    again = reopened(state)
    assert again.identity == state.identity
    assert again.plane == state.plane
    assert again.records == {"p": RECORD}


def test_the_identity_is_for_its_owner_alone(state: State) -> None:
    state.save_identity(Identity(agent_id="a-1", credential="secret"))
    assert stat.S_IMODE((state.folder / "identity.json").stat().st_mode) == 0o600
    assert stat.S_IMODE(state.folder.stat().st_mode) == 0o700
    assert "secret" not in repr(state.identity)


def test_one_process_has_the_folder(state: State) -> None:
    with pytest.raises(StateError, match=rf"is in use by process {os.getpid()}; stop that agent"):
        State(state.folder).open()


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StateError, match="--data-dir"):
        State(tmp_path / "file" / "data").open()


def test_a_content_is_kept_until_no_record_names_it(state: State) -> None:
    data = b"content"
    sha256 = sha256_of(data)
    state.save_blob(sha256, data)
    state.save(Record(pipeline="p", desired=Target(1, sha256)))
    state.collect()
    assert state.blob(sha256) == data
    state.save(Record(pipeline="p", good=Target(1, sha256)))
    state.collect()
    assert state.blob(sha256) == data
    state.forget("p")
    assert state.blob(sha256) is None
    assert reopened(state).records == {}


def test_a_content_that_is_not_what_its_name_says_is_not_there(state: State) -> None:
    sha256 = sha256_of(b"content")
    state.save_blob(sha256, b"content")
    (state.folder / "blobs" / sha256).write_bytes(b"rotten")
    assert state.blob(sha256) is None
    state.save_blob(sha256, b"content")
    assert state.blob(sha256) == b"content"


def test_a_full_disk_is_said_and_made_up_for(state: State, monkeypatch: pytest.MonkeyPatch) -> None:
    state.save(Record(pipeline="p", desired=Target(1, "a")))
    sha256 = sha256_of(b"x")

    def full(path: Path, data: bytes) -> None:
        raise OSError(28, "No space left on device", str(path))

    with monkeypatch.context() as patch:
        patch.setattr(state_module, "replace_file", full)
        state.save(Record(pipeline="p", desired=Target(2, sha256)))
        state.save_blob(sha256, b"x")
        assert "No space left on device" in state.trouble
        assert state.blob(sha256) == b"x"
        assert state.records["p"].desired == Target(2, sha256)
        state.flush()
        assert state.trouble
        assert b'"generation": 1' in (state.folder / "records" / "p.json").read_bytes()
    state.flush()
    assert state.trouble == ""
    again = reopened(state)
    assert again.records["p"].desired == Target(2, sha256)
    assert again.blob(sha256) == b"x"


def test_what_waits_is_written_as_soon_as_the_disk_takes_a_write(state: State, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path, data: bytes) -> None:
        raise OSError(28, "No space left on device", str(path))

    sha256 = sha256_of(b"x")
    with monkeypatch.context() as patch:
        patch.setattr(state_module, "replace_file", full)
        state.save(Record(pipeline="p", desired=Target(2, sha256)))
        state.save_blob(sha256, b"x")
    state.save(Record(pipeline="q"))
    assert state.trouble == ""
    assert reopened(state).blob(sha256) == b"x"


def test_a_write_that_is_cut_short_leaves_the_old_file(state: State, monkeypatch: pytest.MonkeyPatch) -> None:
    state.save_identity(Identity(agent_id="a-1", credential="one"))

    def fail(descriptor: int) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "fsync", fail)
    state.save_identity(Identity(agent_id="a-2", credential="two"))
    monkeypatch.undo()
    assert json.loads((state.folder / "identity.json").read_bytes())["value"]["agent_id"] == "a-1"
    assert [path.name for path in state.folder.iterdir() if path.name.startswith(".identity")] == []


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"version": 1}', '{"version": 1, "value": {"pipeline": 3}}'])
def test_a_file_that_cannot_be_read_is_moved_aside(data_dir: Path, text: str) -> None:
    (data_dir / "records").mkdir(parents=True)
    (data_dir / "records" / "p.json").write_text(text)
    state = State(data_dir)
    state.open()
    state.close()
    assert state.records == {}
    assert (data_dir / "records" / "p.unreadable").read_text() == text


def test_a_newer_agents_state_is_not_touched(data_dir: Path) -> None:
    (data_dir / "records").mkdir(parents=True)
    (data_dir / "records" / "p.json").write_text('{"version": 2, "value": {}}')
    state = State(data_dir)
    with pytest.raises(StateError, match="version 2, and this agent reads 1; upgrade"):
        state.open()
    state.close()


names = st.text(max_size=20)
targets = st.none() | st.builds(Target, st.integers(0, 2**63), names)
moments = st.datetimes(timezones=st.just(UTC))
records = st.builds(
    Record,
    pipeline=names,
    desired=targets,
    removal=st.none() | st.builds(Removal, generation=st.integers(0), purge=st.booleans(), at=st.none() | moments),
    attempt=st.none()
    | st.builds(
        Attempt,
        generation=st.integers(0),
        state=st.sampled_from(AttemptState),
        step=st.none() | st.sampled_from(Step),
        faults=st.lists(st.builds(Fault, message=names, line=st.integers(0)), max_size=3).map(tuple),
        retry_at=st.none() | moments,
    ),
    good=targets,
    notes=st.lists(names, max_size=3).map(tuple),
)


@given(records)
def test_any_record_survives_json(record: Record) -> None:
    assert load(Record, json.loads(json.dumps(dump(record)))) == record


@given(st.dictionaries(names, names), st.dictionaries(names, names))
def test_any_plane_survives_json(labels: dict[str, str], values: dict[str, str]) -> None:
    plane = Plane(instance_id="i", epoch=1, labels=labels, values=values)
    assert load(Plane, json.loads(json.dumps(dump(plane)))) == plane


def test_a_field_of_another_version_is_passed_over() -> None:
    document = dump(RECORD) | {"colour": "red"}
    del document["restarts"]
    assert load(Record, document).restarts == 0
