"""An agent's secrets: closed on its disk, erased when nothing names them, and never in what it says."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from agent.environment import carried_by, environment_of
from agent.model import Record, Target
from agent.policy import Policy
from agent.preparation import Prepared, prepare
from agent.state import State
from headrace.config import parse
from headrace.content import Content, canonical, sha256_of
from headrace.messages import Secret
from headrace.types import Engine, EngineInfo, SecretReference

VALUE, NEWER = "kingfisher-41", "dipper-42"
CONFIG = "pipeline:\n  inputs:\n    - name: dummy\n      tag: ${TOKEN}\n"
CONTENT = Content(engine=Engine.AUTO, config=CONFIG, secrets=(SecretReference(name="api", env="TOKEN"),))
SHA256 = sha256_of(canonical(CONTENT))


def secret(value: str = VALUE, version: int = 1, name: str = "api") -> Secret:
    return Secret(name=name, version=version, value=value.encode())


def opened(folder: Path) -> State:
    state = State(folder)
    state.open()
    return state


def again(state: State) -> State:
    """As the next process finds it."""
    state.close()
    return opened(state.folder)


def value_of(state: State, name: str = "api") -> str | None:
    held = state.secrets.held.get(name)
    return held.value if held else None


def run_pipeline(state: State) -> None:
    state.save_blob(SHA256, canonical(CONTENT))
    state.save(Record(pipeline="birds", desired=Target(1, SHA256)))


@pytest.fixture
def state(tmp_path: Path) -> State:
    return opened(tmp_path / "a")


def test_they_outlive_the_process_and_are_in_no_file(state: State) -> None:
    run_pipeline(state)
    assert state.secrets.take((secret(),))
    files = [path.read_bytes() for path in state.folder.rglob("*") if path.is_file()]
    assert not any(VALUE.encode() in data for data in files)
    for name in ("secrets.json", "secrets.key"):
        assert (state.folder / name).stat().st_mode & 0o777 == 0o600
    before = dict(state.secrets.held)
    state = again(state)
    assert state.secrets.held == before
    assert VALUE not in repr(state.secrets.held)
    state.close()


def test_only_what_differs_is_news(state: State) -> None:
    assert state.secrets.take((secret(),))
    assert not state.secrets.take((secret(),))
    mark = state.secrets.held["api"].mark
    assert state.secrets.take((secret(version=2),))
    assert state.secrets.held["api"].mark != mark
    # Also where another history gave the same version to another value.
    assert state.secrets.take((secret(NEWER, 2),))
    assert value_of(state) == NEWER
    state.close()


def test_older_values_stay_masked_for_as_long_as_a_log_may_have_them(state: State) -> None:
    state.secrets.take((secret(),))
    state.secrets.take((secret(NEWER, 2),))
    state = again(state)
    assert state.secrets.mask.text(f"{VALUE} and {NEWER}") == "*** and ***"
    for version in range(3, 9):
        state.secrets.take((secret(f"value-{version}", version),))
    assert len(state.secrets.held["api"].former) == 4
    state.close()


def test_one_stays_while_a_content_or_the_control_plane_names_it(state: State) -> None:
    state.secrets.take((secret(), secret(NEWER, name="db")))
    state.collect()  # it came before the pipeline that names it
    assert set(state.secrets.held) == {"api", "db"}
    run_pipeline(state)
    state.secrets.take(())  # and the plane says nothing of it any more, as one that was restored
    state.collect()
    assert set(state.secrets.held) == {"api"}
    state.close()


def test_with_the_last_workload_that_names_it_a_secret_and_the_key_are_erased(state: State) -> None:
    run_pipeline(state)
    state.secrets.take((secret(),))
    state.secrets.take(())
    state.forget("birds")
    assert not state.secrets.held
    assert [path.name for path in state.folder.glob("secrets*")] == []
    assert state.secrets.mask.text(VALUE) == VALUE
    state.close()


@pytest.mark.parametrize("damage", ["key", "file", "entry"])
def test_what_cannot_be_opened_is_dropped_and_taken_again(state: State, damage: str) -> None:
    run_pipeline(state)
    state.secrets.take((secret(),))
    path = state.folder / "secrets.json"
    match damage:
        case "key":
            (state.folder / "secrets.key").unlink()
        case "file":
            path.write_text("{")
        case "entry":
            document = json.loads(path.read_text())
            document["secrets"]["other"] = document["secrets"].pop("api")
            path.write_text(json.dumps(document))
    state = again(state)
    assert not state.secrets.held
    assert state.secrets.take((secret(),))
    state = again(state)
    assert value_of(state) == VALUE
    state.close()


def test_a_value_that_no_environment_can_hold_is_not_taken(state: State) -> None:
    assert not state.secrets.take(
        (Secret(name="api", version=1, value=b"\xff\xfe\xfd\xfc"), secret("a\0bcd", name="x"))
    )
    state.close()


def test_the_environment_has_the_value_and_the_digest_has_not() -> None:
    carried = carried_by(CONTENT.secrets, {"api": (VALUE, "m1")})
    environment = environment_of(parse(CONFIG), {"TOKEN": "an operator's"}, carried)
    assert environment.values["TOKEN"] == VALUE
    assert environment.used == {}
    assert environment.faults == ()
    assert VALUE not in repr(environment)
    renamed = environment_of(parse(CONFIG), {}, carried_by(CONTENT.secrets, {"api": ("another value", "m1")}))
    rotated = environment_of(parse(CONFIG), {}, carried_by(CONTENT.secrets, {"api": (VALUE, "m2")}))
    assert environment.digest == renamed.digest
    assert environment.digest != rotated.digest


@pytest.mark.parametrize("name", ["LD_PRELOAD", "PYTHONPATH", "PATH", "HEADRACE_AGENT", "HTTP_PROXY", "a b", ""])
def test_a_secret_is_not_given_by_a_name_that_changes_the_engine(name: str) -> None:
    carried = carried_by([SecretReference(name="api", env=name)], {"api": (VALUE, "m1")})
    assert not carried.values
    assert "secret 'api'" in carried.faults[0].message


def prepared(**held: tuple[str, str]) -> Prepared:
    return prepare(
        CONTENT,
        known={},
        engine=EngineInfo(engine=Engine.EMBEDDED, version="1"),
        policy=Policy(),
        folder="/w/p",
        version="0.1",
        secrets=held,
    )


def test_a_secret_that_has_not_come_is_no_fault_of_the_content() -> None:
    got = prepared()
    assert got.faults == ()
    (fault,) = got.awaited
    assert "secret 'api' has not come from the control plane yet" in fault.message
    assert prepared(api=(VALUE, "m1")).awaited == ()
