"""Every command through the command line, against a control plane in memory: what it prints, and its exit code."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import yaml

from headrace.api import Event, Manifest, Pipeline, Revision, Workload
from headrace.cli import main, waiting
from headrace.cli.exits import Exit
from headrace.cli.target import Target
from headrace.errors import ConfirmError, DeadlineError, HeadraceError, InvalidError, NotFoundError, UnavailableError
from headrace.types import (
    AgentState,
    Attempt,
    AttemptState,
    Fault,
    Health,
    KnownBy,
    Observed,
    Phase,
    Running,
    Severity,
    Step,
)
from tests.headrace.cli.fake_plane import AT, CommandResult, FakePlane, agent, workload

PIPELINE = """\
apiVersion: headrace/v1
kind: Pipeline
metadata: {name: NAME}
spec:
  selector: role=edge
  config: |
    pipeline:
      inputs:
        - name: dummy
"""

BROKEN = Workload(
    pipeline="nginx",
    agent_id="id-b",
    agent_name="b",
    agent_state=AgentState.CONNECTED,
    phase=Phase.FAILED,
    generation=11,
    observed=Observed(
        pipeline="nginx",
        desired=11,
        attempt=Attempt(
            generation=11,
            state=AttemptState.FAILED,
            step=Step.TRIAL,
            faults=(Fault(plugin="tail.0", property="path", message="no such folder"),),
            quarantined=True,
        ),
        running=Running(generation=10, sha256="ab", health=Health.HEALTHY),
        good=10,
        notes=("http_port is managed",),
    ),
)


@dataclass
class Ended:
    code: int
    out: str
    err: str


Run = Callable[..., Ended]


@pytest.fixture
def plane(monkeypatch: pytest.MonkeyPatch) -> FakePlane:
    fake = FakePlane(agents={"a": agent("a", role="edge")})
    monkeypatch.setattr(Target, "connect", lambda _: fake)
    return fake


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setenv("TERM", "dumb")

    def command(line: str, *more: object) -> Ended:
        code = main([*line.split(), *map(str, more)])
        return Ended(code, *capsys.readouterr())

    return command


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "nginx.yaml"
    path.write_text(PIPELINE.replace("NAME", "nginx"))
    return path


def test_apply_says_what_it_did_and_whom_it_touches(run: Run, plane: FakePlane, file: Path) -> None:
    first = run("apply --reason release -f", file)
    assert first == Ended(0, "pipeline/nginx created (revision 1, generation 11): 1 agent matches, 1 gains it\n", "")
    assert run("apply -f", file).out.startswith("pipeline/nginx unchanged (revision 1, generation 11)")
    assert plane.asked[0] == ("release", False, False, "", None, 0)


def test_apply_passes_its_options_on(run: Run, plane: FakePlane, file: Path) -> None:
    run("apply --prune -l team=web --if-revision 0 --dry-run --force --confirm 12 -f", file)
    assert plane.asked == [("", True, True, "team=web", 0, 12)]
    assert plane.pipelines == {}


def test_changes_are_an_array_for_programs_and_the_progress_stays_on_stderr(
    run: Run, plane: FakePlane, file: Path
) -> None:
    plane.phases = [{"a": workload("a", Phase.GOOD)}]
    ended = run("apply --wait -o json -f", file)
    assert ended.code == 0
    assert [change["action"] for change in json.loads(ended.out)] == ["created"]
    assert "nginx on a: good" in ended.err


def test_apply_waits_until_every_agent_runs_it(run: Run, plane: FakePlane, file: Path) -> None:
    plane.phases = [
        {"a": workload("a", Phase.PENDING)},
        {"a": workload("a", Phase.APPLYING)},
        {"a": workload("a", Phase.RUNNING)},
    ]
    ended = run("apply --wait -f", file)
    assert ended.code == 0
    assert ended.err.splitlines()[-2:] == ["nginx on a: running: nothing runs", "1 done"]


def test_waiting_for_good_goes_on_past_running(run: Run, plane: FakePlane, file: Path) -> None:
    plane.phases = [{"a": workload("a", Phase.RUNNING)}]
    assert run("apply --timeout 100ms --wait=good -f", file).code == Exit.TIMED_OUT
    plane.phases = [{"a": workload("a", Phase.GOOD)}]
    assert run("rollback nginx --to 1 --wait=good").code == 0


def test_a_failure_on_some_agents_is_told_with_plugin_reason_and_what_runs(
    run: Run, plane: FakePlane, file: Path
) -> None:
    plane.phases = [{"a": workload("a", Phase.GOOD), "b": BROKEN}]
    ended = run("apply --wait -f", file)
    assert ended.code == Exit.SOME_FAILED
    assert "nginx on b: failed at trial: tail.0: no such folder; generation 10 runs (healthy)" in ended.err


def test_a_failure_on_all_agents_is_a_refusal(run: Run, plane: FakePlane, file: Path) -> None:
    plane.phases = [{"b": BROKEN}]
    assert run("apply --wait -f", file).code == Exit.REFUSED


def test_a_wait_without_agents_is_a_warning(run: Run, plane: FakePlane, file: Path) -> None:
    plane.phases = [{"c": workload("c", Phase.PENDING, AgentState.LOST)}]
    ended = run("apply --wait -f", file)
    assert ended.code == 0
    assert "nginx on c: agent is lost, not waited for" in ended.err
    assert "warning: nginx: no agent that matches is connected" in ended.err


def test_a_wait_outlives_a_restart_of_the_control_plane(
    run: Run, plane: FakePlane, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = [UnavailableError("cannot reach the control plane"), None]
    watch = plane.watch_pipeline

    async def unsteady(name: str) -> AsyncIterator[Pipeline]:
        if error := answers.pop(0):
            raise error
        async for pipeline in watch(name):
            yield pipeline

    monkeypatch.setattr(plane, "watch_pipeline", unsteady)
    monkeypatch.setattr(waiting, "RETRY_S", 0.0)
    plane.phases = [{"a": workload("a", Phase.RUNNING)}]
    ended = run("apply --wait -f", file)
    assert (ended.code, answers) == (0, [])
    assert "cannot reach the control plane; trying again" in ended.err


def test_a_pipeline_that_is_deleted_meanwhile_ends_the_wait(run: Run, plane: FakePlane, file: Path) -> None:
    async def gone(name: str) -> AsyncIterator[Pipeline]:
        raise NotFoundError(f"there is no pipeline {name!r}")
        yield

    plane.watch_pipeline = gone
    assert run("apply --wait -f", file).code == Exit.NOT_FOUND


def test_delete_waits_until_no_connected_agent_runs_it(run: Run, plane: FakePlane, file: Path) -> None:
    async def watch(name: str) -> AsyncIterator[Pipeline]:
        both = {agent: workload(agent, Phase.REMOVING) for agent in "ab"}
        both["b"] = workload("b", Phase.RUNNING, AgentState.LOST)
        for left in (both, {"b": both["b"]}):
            yield Pipeline(manifest=Manifest(name=name), revision=2, workloads=tuple(left.values()))
        await asyncio.Event().wait()

    run("apply -f", file)
    plane.watch_pipeline = watch
    ended = run("delete pipeline nginx --wait")
    assert (ended.code, ended.out) == (0, "pipeline/nginx deleted (revision 2, generation 99): 1 agent loses it\n")
    assert "nginx on a: removed" in ended.err
    assert "nginx on b: agent is lost, not waited for" in ended.err
    assert ended.err.endswith("1 done, 1 away\n")


def test_delete_that_nobody_has_to_hear_of_is_done_at_once(run: Run, plane: FakePlane, file: Path) -> None:
    run("apply -f", file)
    ended = run("delete pipeline nginx --wait")
    assert (ended.code, ended.err) == (0, "nginx: no connected agent runs it any more\n")


def test_delete_that_an_agent_is_slow_with_times_out(run: Run, plane: FakePlane, file: Path) -> None:
    async def watch(name: str) -> AsyncIterator[Pipeline]:
        yield Pipeline(manifest=Manifest(name=name), revision=2, workloads=(workload("a", Phase.REMOVING),))
        await asyncio.Event().wait()

    run("apply -f", file)
    plane.watch_pipeline = watch
    assert run("delete pipeline nginx --wait --timeout 100ms").code == Exit.TIMED_OUT


def test_a_wait_that_times_out_says_that_the_change_stays(run: Run, plane: FakePlane, file: Path) -> None:
    plane.phases = [{"a": workload("a", Phase.PENDING)}]
    ended = run("apply --wait --timeout 100ms -f", file)
    assert ended.code == Exit.TIMED_OUT
    assert "timed out after 100ms; the change stays" in ended.err


def test_refusals_are_told_with_every_finding_in_the_file(
    run: Run, plane: FakePlane, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refuse(*_: object, **__: object) -> None:
        faults = [Fault(message=f"filter {name!r} is not known", file="nginx", line=3, column=7) for name in "xy"]
        raise InvalidError(f"refused for 2 errors: {faults[0]} (and 1 more)", faults=faults)

    monkeypatch.setattr(plane, "apply_pipelines", refuse)
    ended = run("apply -f", file)
    assert (ended.code, ended.out) == (Exit.REFUSED, "")
    assert ended.err.splitlines() == [
        "error: refused for 2 errors",
        f"  {file}:9:11: filter 'x' is not known",
        f"  {file}:9:11: filter 'y' is not known",
    ]


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (DeadlineError("no answer within 30 s"), Exit.TIMED_OUT),
        (ConfirmError("12 of 20 agents would lose it; add --confirm 12", confirm=12), Exit.REFUSED),
    ],
)
def test_an_error_is_one_line_and_an_exit_code(run: Run, plane: FakePlane, error: HeadraceError, code: Exit) -> None:
    plane.error = error
    assert run("get pipelines") == Ended(code, "", f"error: {error}\n")


def test_debug_shows_the_traceback(run: Run, plane: FakePlane) -> None:
    plane.error = UnavailableError("x")
    with pytest.raises(UnavailableError):
        run("get pipelines --debug")


@pytest.mark.parametrize(
    "line",
    [
        "apply",
        "apply -f /does/not/exist.yaml",
        "apply --prune -f x",
        "apply -l a=b -f x",
        "apply --timeout soon -f x",
        "apply --wait=perfect -f x",
        "get nothing",
        "get pipelines -o xml",
        "delete agent a",
        "delete pipeline p --wait --orphaned-on a",
        "delete pipeline p --wait=good",
        "variable set NAME",
        "token create --label role",
        "frobnicate",
    ],
)
def test_wrong_usage_is_exit_2(run: Run, plane: FakePlane, line: str) -> None:
    ended = run(line)
    assert (ended.code, ended.out) == (Exit.USAGE, "")
    assert "Traceback" not in ended.err
    assert plane.asked == []


def test_get_pipelines_as_table_json_and_yaml(run: Run, plane: FakePlane, file: Path) -> None:
    run("apply -f", file)
    head, row = run("get pipelines").out.splitlines()
    assert head.split() == ["NAME", "REVISION", "GENERATION", "SELECTOR", "ENGINE", "AGENTS", "UPDATED"]
    assert row.split() == ["nginx", "1", "11", "role=edge", "auto", "-", "2026-11-22T10:15:30Z"]
    documents = json.loads(run("get pipelines -o json").out)
    assert documents[0]["name"] == "nginx"
    assert yaml.safe_load(run("get pipelines -o yaml").out) == documents
    run("get pipelines -l team=web")
    assert plane.asked[-1] == "team=web"


def test_get_takes_names_and_misses_none_silently(run: Run, plane: FakePlane, file: Path) -> None:
    run("apply -f", file)
    assert run("get pipeline nginx").code == 0
    ended = run("get pipelines ngnix")
    assert (ended.code, ended.err) == (Exit.NOT_FOUND, "error: there is no pipeline 'ngnix'; did you mean 'nginx'?\n")


def test_an_empty_list_says_what_to_do(run: Run, plane: FakePlane) -> None:
    assert run("get pipelines") == Ended(0, "", "no pipelines; make one: headrace apply -f FILE\n")
    assert run("get pipelines -o json").out == "[]\n"


def test_get_agents_by_name_or_id(run: Run, plane: FakePlane) -> None:
    for name in ("a", "id-a"):
        (document,) = json.loads(run(f"get agents {name} -o json").out)
        assert (document["id"], document["state"], document["labels"]) == ("id-a", "connected", {"role": "edge"})
    assert run("get agents b").code == Exit.NOT_FOUND


def test_describe_pipeline_tells_the_three_truths_and_what_went_wrong(run: Run, plane: FakePlane, file: Path) -> None:
    run("apply -f", file)
    plane.pipelines["nginx"] = replace(plane.pipelines["nginx"], workloads=(BROKEN,), phases={"failed": 1})
    ended = run("describe pipeline nginx")
    assert ended.code == 0
    truths = next(line for line in ended.out.splitlines() if line.startswith("  b  "))
    assert re.split(" {3,}", truths)[1:6] == ["connected", "failed", "11", "11 failed at trial", "10 healthy"]
    assert "b: generation 11 failed at step trial, not tried again by itself" in ended.out
    assert "error: tail.0: no such folder (property path)" in ended.out
    assert "generation 10 runs on" in ended.out
    assert "note: http_port is managed" in ended.out
    document = json.loads(run("describe pipeline nginx -o json").out)
    (known,) = document["workloads"]
    assert (known["generation"], known["attempt"]["step"], known["running"]["generation"]) == (11, "trial", 10)
    assert document["config"].startswith("pipeline:")


def test_describe_agent_is_one_object(run: Run, plane: FakePlane) -> None:
    assert "State:       connected" in run("describe agent a").out
    assert json.loads(run("describe agent a -o json").out)["name"] == "a"
    assert run("describe agent b").code == Exit.NOT_FOUND


def test_describe_tells_of_an_agent_that_waits_who_it_says_it_is_and_what_to_do(run: Run, plane: FakePlane) -> None:
    plane.agents["a"] = replace(
        plane.agents["a"], state=AgentState.PENDING, waits=True, source="10.0.0.7", token_id="t-1", claimed="a-0"
    )
    lines = run("describe agent a").out.splitlines()
    assert "State:       pending approval" in lines
    assert "Asked:       from 10.0.0.7 with token t-1, with the credential of a-0 and not its key" in lines
    assert f"To decide:   headrace agent approve {plane.agents['a'].id}, or deny" in lines


def test_a_clock_that_is_wrong_is_in_the_description_of_its_agent(run: Run, plane: FakePlane) -> None:
    known = plane.agents["a"]
    assert "Clock" not in run("describe agent a").out
    plane.agents["a"] = replace(known, facts=replace(known.facts, clock_ahead_ms=-3_720_000))
    assert "Clock:       1h 2m behind the control plane's\n" in run("describe agent a").out


def test_diff_answers_same_different_and_trouble(run: Run, plane: FakePlane, file: Path) -> None:
    new = run("diff -f", file)
    assert new.code == 1
    assert new.out.startswith("--- /dev/null\n+++ ")
    run("apply -f", file)
    assert run("diff -f", file) == Ended(0, "", "")
    file.write_text(file.read_text().replace("role=edge", "role=core").replace("dummy", "tail"))
    changed = run("diff -f", file).out.splitlines()
    assert changed[0] == "--- live/nginx (revision 1)"
    assert [line for line in changed[2:] if line[0] in "+-"] == [
        "-  selector: role=edge",
        "+  selector: role=core",
        "-        - name: dummy",
        "+        - name: tail",
    ]
    file.write_text("apiVersion: headrace/v1\n")
    assert run("diff -f", file).code == Exit.USAGE


def test_history_and_rollback(run: Run, plane: FakePlane, file: Path) -> None:
    run("apply --reason one -f", file)
    file.write_text(file.read_text().replace("dummy", "tail"))
    run("apply --reason two -f", file)
    assert run("rollback nginx").out.startswith("pipeline/nginx updated (revision 3")
    rows = [line.split() for line in run("history nginx").out.splitlines()]
    assert [row[0] for row in rows] == ["REVISION", "3", "2", "1"]
    assert rows[2][-1] == "two"
    assert [item["number"] for item in json.loads(run("history nginx -o json").out)] == [3, 2, 1]
    assert run("history other").code == Exit.NOT_FOUND


def test_delete_takes_pipelines_all_or_nothing(run: Run, plane: FakePlane, file: Path) -> None:
    run("apply -f", file)
    assert run("delete pipeline nginx --confirm 3 --purge").out == (
        "pipeline/nginx deleted (revision 2, generation 99): 1 agent loses it\n"
    )
    assert plane.asked[-1] == ("", False, 3, True, "")
    assert run("delete pipelines nginx").code == Exit.NOT_FOUND


def test_validate_without_a_control_plane_checks_the_syntax(run: Run, plane: FakePlane, file: Path) -> None:
    plane.error = UnavailableError("nobody there")
    assert run("validate --offline -f", file) == Ended(0, "pipeline/nginx is well-formed (syntax only)\n", "")
    assert run("validate -f", file).code == Exit.UNREACHABLE
    file.write_text(file.read_text().replace("pipeline:\n", "pipline:\n"))
    ended = run("validate --offline -f", file)
    assert ended.code == Exit.REFUSED
    assert f"{file}:7:5: " in ended.err


def test_validate_asks_the_control_plane_and_changes_nothing(run: Run, plane: FakePlane, file: Path) -> None:
    assert run("validate -f", file) == Ended(0, "pipeline/nginx is valid: 1 agent matches, 1 gains it\n", "")
    assert plane.pipelines == {}


@pytest.mark.parametrize(
    ("oks", "code"), [((True,), 0), ((True, False), Exit.SOME_FAILED), ((False,), Exit.REFUSED), ((), 0)]
)
@pytest.mark.parametrize("verb", ["restart", "retry"])
def test_commands_to_agents_end_by_how_many_did_it(
    run: Run, plane: FakePlane, file: Path, verb: str, oks: tuple[bool, ...], code: int
) -> None:
    run("apply -f", file)
    plane.results = tuple(CommandResult(agent_id=f"a-{n}", agent_name=f"edge-{n}", ok=ok) for n, ok in enumerate(oks))
    ended = run(f"{verb} nginx -l role=edge")
    assert ended.code == code
    assert all(f"edge-{n}" in ended.out for n in range(len(oks)))


def test_logs_cannot_steer_the_terminal(run: Run, plane: FakePlane) -> None:
    assert run("logs nginx --agent a -n 5").out == "log of nginx on a, 5 lines\n\\x1b[31mred\n"


def test_adopt_needs_a_selector(run: Run, plane: FakePlane) -> None:
    assert run("adopt nginx --agent a").code == Exit.USAGE
    assert run("adopt nginx --agent a --selector role=edge").out.startswith("pipeline/nginx created")


def test_labels_are_set_and_unset(run: Run, plane: FakePlane) -> None:
    ended = run("agent label a zone=eu role-")
    assert (ended.out, ended.err) == ("agent/a labels zone=eu\n", "it gains nginx\n")
    assert run("agent revoke a").out == "agent/a revoked\n"
    assert plane.agents["a"].state is AgentState.REVOKED


def test_variables_are_set_listed_and_unset(run: Run, plane: FakePlane) -> None:
    assert run("variable set LOG=/var/log/a=b -l role=edge").out == "variable/LOG set for role=edge\n"
    assert json.loads(run("variable list -o json").out) == [
        {"name": "LOG", "value": "/var/log/a=b", "selector": "role=edge"}
    ]
    run("variable unset LOG -l role=edge")
    assert plane.variables == []


def test_authorities_are_shown_exported_and_rotated(run: Run, plane: FakePlane, tmp_path: Path) -> None:
    assert run("ca show").out.splitlines()[1].split()[:4] == ["f1", "yes", "-", "3"]
    rotated = run("ca rotate")
    assert rotated.out == "ca/f2 signs\n"
    assert "is trusted until no good certificate by it is left" in rotated.err
    assert run("ca export").out == "pem 2\npem 1\n"
    assert "2 in" in run(f"ca export --out {tmp_path}/ca.pem").err
    assert (tmp_path / "ca.pem").read_text() == "pem 2\npem 1\n"
    assert "cannot be written" in run(f"ca export --out {tmp_path}/none/ca.pem").err
    assert run("ca rotate --force").code == Exit.USAGE
    assert "1 connected agent" in run("ca rotate --finish").err
    assert run("ca rotate --finish --force").out == "ca/f1 ended\n"
    assert [each["signs"] for each in json.loads(run("ca show -o json").out)] == [True]


def test_an_agent_that_waits_is_shown_and_approved_or_denied(run: Run, plane: FakePlane) -> None:
    plane.agents = {
        name: replace(agent(name), state=AgentState.PENDING, waits=True) for name in ("new-1", "new-2", "new-3")
    }
    assert run("get agents").out.count("pending approval") == 3
    assert run("agent approve new-1").out == "agent/new-1 approved, id-new-1\n"
    assert run("agent approve new-2 --as a-9").out == "agent/new-2 approved, a-9\n"
    assert run("agent deny new-3 --reason unknown").out == "agent/new-3 denied\n"
    assert run("get agents").out.count("pending approval") == 0
    assert json.loads(run("token create --approve -o json").out)["approve"] is True


def test_the_token_of_a_user_is_printed_once_and_alone(run: Run, plane: FakePlane) -> None:
    ended = run("user create ann --role edit --ttl 2h --description web")
    assert ended.out == "hru_ann.secret\n"
    assert "user ann, role edit, good until 2026-11-22T12:15:30Z" in ended.err
    assert "good until it is revoked" in run("user create bot --role read").err
    assert json.loads(run("user create bot --role read -o json").out)["token"] == "hru_bot.secret"
    assert run("user create bot --role emperor").code == Exit.USAGE
    assert run("user create bot").code == Exit.USAGE
    assert "secret" not in run("user list").out
    ended = run("user create cem --role admin --certificate cem@example.com")
    assert (ended.out, ended.code) == ("", Exit.DONE)
    assert "user cem, role admin, known by certificate 'cem@example.com', good until it is revoked" in ended.err
    run("user create web --role read --group web")
    assert run("user create both --role read --header x --certificate x").code == Exit.USAGE
    assert [line.split()[-5:-3] for line in run("user list").out.splitlines()[1:]] == [
        ["2026-11-22T12:15:30Z", "token"],
        ["-", "token"],
        ["certificate", "cem@example.com"],
        ["group", "web"],
    ]
    assert run("user revoke ann").out == "user/ann revoked\n"
    assert plane.users["ann"].revoked


def test_a_secret_comes_from_a_file_or_the_environment_and_is_never_shown(
    run: Run, plane: FakePlane, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "value"
    file.write_bytes(b"kingfisher 41\n\n")
    ended = run(f"secret set api --from-file {file}")
    assert (ended.out, ended.err) == ("secret/api set, version 1\n", "applied anew: nginx\n")
    assert plane.secrets["api"] == b"kingfisher 41\n"  # without the last line end, and no other
    monkeypatch.setenv("API_VALUE", "kingfisher 41\n")
    assert run("secret set api --from-env API_VALUE").out == "secret/api unchanged\n"
    listed = run("secret list")
    assert "api" in listed.out
    assert "kingfisher" not in listed.out + run("get secrets -o json").out
    assert run("secret rekey").out == "1 secret encrypted with another key\n"
    assert run("secret delete api").out == "secret/api deleted\n"


@pytest.mark.parametrize(
    ("command", "code", "message"),
    [
        ("secret set api value", Exit.USAGE, "unexpected extra argument"),
        ("secret set api --from-file x --from-env y", Exit.USAGE, "exclude each other"),
        ("secret set api --from-file /nowhere", Exit.REFUSED, "/nowhere cannot be read: No such file"),
        ("secret set api --from-env NOT_THERE_AT_ALL", Exit.REFUSED, "'NOT_THERE_AT_ALL' is not in this environment"),
        ("secret delete api", Exit.NOT_FOUND, "there is no secret 'api'"),
    ],
)
def test_a_secret_that_cannot_be_had_is_said(
    run: Run, plane: FakePlane, command: str, code: Exit, message: str
) -> None:
    ended = run(command)
    assert ended.code == code
    assert message in ended.err


def test_a_token_is_printed_once_and_alone(run: Run, plane: FakePlane) -> None:
    ended = run("token create --label role=edge --ttl 2h --uses 3")
    assert ended.out == "hrb_t1.secret\n"
    assert "good until 2026-11-22T12:15:30Z for 3 agents" in ended.err
    assert json.loads(run("token create -o json").out)["secret"] == "hrb_t1.secret"
    assert "hrb_t1.secret" not in run("token list").out
    run("token revoke t1")
    assert plane.tokens["t1"].revoked


def test_a_token_says_what_it_is_good_for_and_who_came_with_it(run: Run, plane: FakePlane) -> None:
    made = run(
        "token create --agents 50 --selector-allow role=edge --selector-allow zone --cidr 10.0.0.0/8 --cidr fd00::/8"
    )
    assert "for any number of agents, 50 at one time" in made.err
    plane.agents["a"] = replace(plane.agents["a"], token_id="t1")
    document = json.loads(run("token show t1 -o json").out)
    assert document["scope"] == "role=edge,zone"
    assert document["networks"] == ["10.0.0.0/8", "fd00::/8"]
    assert [agent["id"] for agent in document["agents"]] == ["id-a"]
    shown = run("token show t1").out
    for fact in ("role=edge,zone", "10.0.0.0/8, fd00::/8", "any number", "50"):
        assert fact in shown
    assert "hrb_" not in shown
    missing = run("token show t9")
    assert missing.code == 3
    assert "there is no token 't9'" in missing.err


def test_a_token_document_has_the_secret_as_token_and_the_address_of_the_channel(run: Run, plane: FakePlane) -> None:
    document = json.loads(run("token create -o json").out)
    assert (document["id"], document["token"], document["server"]) == ("t1", "hrb_t1.secret", "plane.example:8402")


def test_a_token_in_a_form_needs_an_address_that_agents_can_reach(run: Run, plane: FakePlane) -> None:
    assert run("token create --format env").out == (
        "HEADRACE_AGENT_SERVER=plane.example:8402\nHEADRACE_AGENT_TOKEN=hrb_t1.secret\n"
    )
    plane.channel = "0.0.0.0:8402"
    refused = run("token create --format command")
    assert refused.code == 2
    assert "0.0.0.0:8402" in refused.err
    assert "--channel" in refused.err
    assert plane.tokens["t1"].revoked
    assert "--server h:1" in run("token create --format command --channel h:1").out
    assert run("token create --format env -o json").code == 2


def test_events_are_oldest_first_and_watched_from_there(run: Run, plane: FakePlane) -> None:
    plane.events = [
        Event(revision=1, at=AT, kind="pipeline.applied", actor="ann", pipeline="nginx", message="revision 1"),
        Event(revision=2, at=AT, kind="workload.failed", severity=Severity.ERROR, agent_id="a", message="why"),
    ]
    kinds = [line.split()[1] for line in run("events").out.splitlines()]
    assert kinds == ["KIND", "pipeline.applied", "workload.failed"]
    watched = [json.loads(line) for line in run("events --watch -o json").out.splitlines()]
    assert [(event["revision"], event["kind"]) for event in watched][1:] == [
        (2, "workload.failed"),
        (3, "watched.event"),
    ]


def test_who_it_was_is_shown_with_what_they_were_known_by_and_from_where(run: Run, plane: FakePlane) -> None:
    by = KnownBy.CERTIFICATE
    plane.events = [
        Event(revision=1, at=AT, kind="secret.set", actor="ann", actor_known_by=by, source="10.0.0.7", message="api"),
    ]
    assert "ann (certificate)   10.0.0.7" in run("events").out
    assert "by ann (certificate) from 10.0.0.7: api" in run("events --watch").out
    (exported,) = (json.loads(line) for line in run("events --export").out.splitlines())
    assert (exported["actor"], exported["actor_known_by"], exported["source"]) == ("ann", "certificate", "10.0.0.7")
    plane.revisions["edge"] = [Revision(pipeline="edge", number=1, author="ann", author_known_by=by)]
    assert "ann (certificate)" in run("history edge").out
    assert json.loads(run("history edge -o json").out)[0]["author_known_by"] == "certificate"


def test_all_events_are_exported_a_line_each_over_many_pages(run: Run, plane: FakePlane) -> None:
    plane.events = [Event(revision=number, at=AT, kind="secret.set", actor="ann") for number in range(1, 2502, 2)]
    exported = [json.loads(line) for line in run("events --export").out.splitlines()]
    assert [event["revision"] for event in exported] == [event.revision for event in plane.events]
    assert {event["actor"] for event in exported} == {"ann"}
    assert plane.asked == [(1000, 0), (1000, 503), (1000, 1)]
    plane.events = []
    assert run("events --export").out == ""
    assert run("events --export --watch").code == Exit.USAGE


def test_status_answers(run: Run, plane: FakePlane) -> None:
    assert "Instance:  i-1 (epoch 2)" in run("status").out
    assert json.loads(run("status -o json").out)["agents"] == {"connected": 3}


def test_a_backup_is_whole_or_not_there(
    run: Run, plane: FakePlane, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "b.gz"
    assert run("backup --out", out).out == f"{out}: 7 bytes\n"
    assert out.read_bytes() == b"one two"

    async def cut() -> object:
        yield b"half"
        raise UnavailableError("gone")

    monkeypatch.setattr(plane, "backup", cut)
    assert run("backup --out", out).code == Exit.UNREACHABLE
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("b.gz", b"one two")]
    assert run("backup --out", tmp_path / "no" / "b.gz").code == Exit.USAGE


def test_version_and_help(run: Run) -> None:
    assert run("version").out.startswith("headrace ")
    assert "Exit codes" in run("--help").out
    assert run("").code in (0, Exit.USAGE)
