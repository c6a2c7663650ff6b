"""`cluster bootstrap` against an API server of Kubernetes in this process, and a control plane in memory."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

from headrace.cli import app, cluster, main
from headrace.cli.cluster_nodes import standing
from headrace.cli.kubeconfig import access
from headrace.cli.target import Target
from headrace.errors import ForbiddenError, HeadraceError, InvalidError, NotFoundError
from headrace.types import AgentState
from tests.headrace.cli.fake_plane import FakePlane, agent
from tests.headrace.cli.test_commands import Ended
from tests.kube import FakeKube
from tests.kube_schema import faults

LINE = "cluster bootstrap --context far --name eu-1 --server headrace.example.com:443"
DAEMON_SET = ("daemonsets", "headrace", "headrace-agent")


class LivingPlane(FakePlane):
    """Its tokens have ids of their own, and are good from now on."""

    async def create_token(self, **asked: Any) -> Any:  # type: ignore[override]
        made = await super().create_token(**asked)
        id, until = f"c{len(self.tokens)}", datetime.now(UTC) + timedelta(seconds=asked["ttl_seconds"])
        token = replace(made.token, id=id, expires_at=until, description=asked["description"])
        self.tokens = {**{key: kept for key, kept in self.tokens.items() if key != made.token.id}, id: token}
        return replace(made, token=token, secret=f"hrb_{id}.secret-{id}")


@pytest.fixture
def plane(monkeypatch: pytest.MonkeyPatch) -> FakePlane:
    fake = LivingPlane(agents={name: agent(name, cluster="eu-1") for name in ("n-1", "n-2")})
    monkeypatch.setattr(Target, "connect", lambda _: fake)
    monkeypatch.setattr(cluster, "PAUSE_S", 0.01)
    return fake


@pytest.fixture
def kube(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeKube]:
    fake = FakeKube(nodes=("n-1", "n-2"))
    with fake.serving(tmp_path) as path:
        monkeypatch.setenv("KUBECONFIG", str(path))
        yield fake


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("TERM", "dumb")
    # The command line with this one command: to build the others each time is most of what a test would cost.
    small = typer.Typer(pretty_exceptions_enable=False)
    small.callback()(app.options)
    small.add_typer(cluster.group)
    monkeypatch.setattr(app, "app", small)

    def command(*more: str, line: str = LINE) -> Ended:
        code = main([*line.split(), *more])
        return Ended(code, *capsys.readouterr())

    return command


def token_of(kube: FakeKube) -> str:
    data: str = kube.objects["secrets", "headrace", "headrace-enrol"]["data"]["token"]
    return base64.b64decode(data).decode()


def test_everything_is_made_and_each_node_is_told(run: Any, kube: FakeKube, plane: FakePlane) -> None:
    ended = run("--env", "HTTPS_PROXY=http://p:3128")
    assert ended.code == 0, ended.err
    assert ended.out.splitlines() == [
        "NODE   POD       AGENT",
        "n-1    Running   connected",
        "n-2    Running   connected",
    ]
    made = ["namespace/headrace", "secret/headrace-enrol", "serviceaccount/headrace-agent", "configmap/headrace-agent"]
    assert ended.err.splitlines() == [f"{name} applied" for name in (*made, "daemonset/headrace-agent")]
    (token,) = plane.tokens.values()
    assert (dict(token.labels), token.scope, token.max_agents) == ({"cluster": "eu-1"}, "cluster=eu-1", 1000)
    assert token_of(kube) == f"hrb_{token.id}.secret-{token.id}"
    settings = kube.objects["configmaps", "headrace", "headrace-agent"]["data"]
    assert settings["HEADRACE_AGENT_SERVER"] == "headrace.example.com:443"
    assert (settings["HEADRACE_AGENT_TLS"], settings["HTTPS_PROXY"]) == ("true", "http://p:3128")
    assert "secret-" not in ended.out + ended.err + json.dumps(settings)


def test_the_command_line_has_it() -> None:
    assert cluster.group in [each.typer_instance for each in app.app.registered_groups]


def test_to_say_it_again_changes_only_what_differs_and_keeps_a_good_token(
    run: Any, kube: FakeKube, plane: FakePlane
) -> None:
    run()
    before, token = json.dumps(list(kube.objects.values()), sort_keys=True), token_of(kube)
    assert run().code == 0
    assert (json.dumps(list(kube.objects.values()), sort_keys=True), token_of(kube)) == (before, token)
    assert run("--image", "headrace-agent:2").code == 0
    assert kube.objects[DAEMON_SET]["metadata"]["generation"] == 2
    assert run("--env", "A=b").code == 0  # other settings make other pods
    assert kube.objects[DAEMON_SET]["metadata"]["generation"] == 3
    assert run().code == 0
    assert "A" not in kube.objects["configmaps", "headrace", "headrace-agent"]["data"]
    (id,) = plane.tokens
    plane.tokens[id] = replace(plane.tokens[id], expires_at=datetime.now(UTC) + timedelta(minutes=1))
    assert run().code == 0
    assert token_of(kube) != token
    assert [each.revoked for each in plane.tokens.values()] == [True, False]


def test_a_dry_run_prints_valid_yaml_asks_nobody_and_has_no_token(run: Any, kube: FakeKube, plane: FakePlane) -> None:
    ended = run("--dry-run")
    documents = list(yaml.safe_load_all(ended.out))
    assert [document["kind"] for document in documents] == ["Namespace", "ServiceAccount", "ConfigMap", "DaemonSet"]
    assert [faults(document) for document in documents] == [[]] * 4
    assert (kube.calls, plane.tokens) == ([], {})
    assert "headrace token create" in ended.err


def test_uninstalling_leaves_nothing_and_may_be_said_again(run: Any, kube: FakeKube, plane: FakePlane) -> None:
    run()
    away = "cluster bootstrap --context far --name eu-1 --uninstall"
    ended = run(line=away)
    assert (ended.code, ended.out) == (0, "cluster/eu-1 removed\n")
    assert kube.objects == {}
    assert [token.revoked for token in plane.tokens.values()] == [True]
    assert run(line=away).code == 0


def test_a_namespace_of_others_is_used_as_it_is_and_stays(run: Any, kube: FakeKube, plane: FakePlane) -> None:
    key = ("namespaces", "", "headrace")
    kube.objects[key] = theirs = {"metadata": {"name": "headrace", "labels": {}}, "status": {"phase": "Active"}}
    assert run().code == 0
    run(line="cluster bootstrap --context far --name eu-1 --uninstall")
    assert kube.objects == {key: theirs}


def test_a_namespace_on_its_way_out_is_told(run: Any, kube: FakeKube, plane: FakePlane) -> None:
    run()
    kube.finalising = True
    run(line="cluster bootstrap --context far --name eu-1 --uninstall")
    ended = run()
    assert (ended.code, "namespace 'headrace' is being deleted there" in ended.err) == (1, True)


def test_what_is_forbidden_is_told_and_leaves_no_token_behind(run: Any, kube: FakeKube, plane: FakePlane) -> None:
    kube.denied.add(("patch", "secrets"))
    ended = run()
    assert ended.code == 1
    assert "context 'far', secret/headrace-enrol: secrets" in ended.err
    assert 'User "u" cannot patch resource "secrets" in the namespace "headrace"' in ended.err
    assert [token.revoked for token in plane.tokens.values()] == [True]


def test_what_somebody_else_manages_is_taken_by_force_alone(run: Any, kube: FakeKube, plane: FakePlane) -> None:
    run()
    kube.set_as("kubectl", ("configmaps", "headrace", "headrace-agent"), ("data", "HEADRACE_AGENT_TLS"), "false")
    ended = run()
    assert ended.code == 1
    assert 'conflict with "kubectl": .data.HEADRACE_AGENT_TLS; somebody else manages that; --force' in ended.err
    assert run("--force").code == 0
    assert kube.objects["configmaps", "headrace", "headrace-agent"]["data"]["HEADRACE_AGENT_TLS"] == "true"


def test_a_node_without_its_agent_is_told_with_what_keeps_it(run: Any, kube: FakeKube, plane: FakePlane) -> None:
    kube.waiting["n-2"] = "ImagePullBackOff"
    del plane.agents["n-2"]
    ended = run("--timeout", "50ms", "-o", "json")
    assert ended.code == 5
    assert json.loads(ended.out)[1] == {
        "name": "n-2",
        "pod": "ImagePullBackOff",
        "agent": "not enrolled",
        "connected": False,
    }
    assert "kubectl -n headrace describe pods" in ended.err


@pytest.mark.parametrize(
    ("line", "code", "said"),
    [
        (LINE.replace("far", "near"), 3, "the kubeconfig has no context 'near'; there are far"),
        (LINE.replace("eu-1", "EU_1"), 1, "cluster 'EU_1' must be"),
        (LINE.partition(" --server")[0], 2, "say where agents connect"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_asked(
    run: Any, kube: FakeKube, plane: FakePlane, line: str, code: int, said: str
) -> None:
    ended = run(line=line)
    assert (ended.code, said in ended.err) == (code, True), ended.err
    assert (kube.calls, plane.tokens) == ([], {})


def test_a_cluster_that_is_away_and_a_credential_that_is_no_good_are_told(
    run: Any, kube: FakeKube, plane: FakePlane, tmp_path: Path
) -> None:
    kube.token = "another"
    ended = run()
    assert (ended.code, "credential is not good there" in ended.err) == (1, True)
    document = yaml.safe_load(Path(os.environ["KUBECONFIG"]).read_text())
    document["clusters"][0]["cluster"]["server"] = "http://127.0.0.1:9"
    Path(os.environ["KUBECONFIG"]).write_text(yaml.safe_dump(document))
    ended = run()
    assert (ended.code, "127.0.0.1:9 cannot be reached" in ended.err) == (4, True)


def test_an_agent_counts_for_its_node_once_the_cluster_has_looked() -> None:
    agents = [agent("n-1"), agent("n-2", AgentState.SUSPECT)]
    pods = [{"metadata": {}, "spec": {"nodeName": name}, "status": {"phase": "Running"}} for name in ("n-1", "n-2")]
    pods.append({"metadata": {}, "spec": {}, "status": {"conditions": [{"type": "PodScheduled", "status": "False"}]}})
    daemon_set = {"metadata": {"generation": 2}, "status": {"observedGeneration": 1, "desiredNumberScheduled": 1}}
    assert standing(daemon_set, pods, agents).wanted is None
    daemon_set["status"]["observedGeneration"] = 2
    found = standing(daemon_set, pods, agents)
    assert [(node.name, node.connected) for node in found.nodes] == [("n-1", True), ("n-2", False)]
    assert found.is_complete
    daemon_set["status"]["desiredNumberScheduled"] = 2
    assert not standing(daemon_set, pods, agents).is_complete


def kubeconfig(folder: Path, **user: Any) -> dict[str, str]:
    document = {
        "current-context": "c",
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
        "clusters": [{"name": "c", "cluster": {"server": "https://k:6443/", "certificate-authority": "ca.pem"}}],
        "users": [{"name": "u", "user": user}],
    }
    (folder / "ca.pem").write_text("PEM")
    (folder / "config").write_text(yaml.safe_dump(document))
    return {"KUBECONFIG": f"/nowhere{os.pathsep}{folder / 'config'}", "PATH": os.environ["PATH"]}


def test_every_kind_of_credential_of_a_kubeconfig_is_shown(tmp_path: Path) -> None:
    def shown(**user: Any) -> str:
        return access("", kubeconfig(tmp_path, **user)).authorization

    assert access("", kubeconfig(tmp_path)).ca == b"PEM"
    assert access("", kubeconfig(tmp_path)).server == "https://k:6443"
    (tmp_path / "token").write_text("t-2\n")
    assert shown(token="t-1") == "Bearer t-1"
    assert shown(tokenFile="token") == "Bearer t-2"
    assert shown(username="ann", password="p") == "Basic YW5uOnA="
    printed = json.dumps({"status": {"token": "t-3"}})
    plugin = {"apiVersion": "client.authentication.k8s.io/v1", "command": "sh", "args": ["-c", 'echo "$SAID"']}
    assert shown(exec={**plugin, "env": [{"name": "SAID", "value": printed}]}) == "Bearer t-3"
    data = base64.b64encode(b"cert").decode()
    assert access("", kubeconfig(tmp_path, **{"client-certificate-data": data})).certificate == b"cert"


@pytest.mark.parametrize(
    ("user", "kind", "said"),
    [
        ({"auth-provider": {}}, InvalidError, "use an exec plugin"),
        ({"exec": {"command": "sh", "args": ["-c", "echo log in first >&2; exit 1"]}}, ForbiddenError, "log in first"),
        ({"exec": {"command": "no-such-program", "installHint": "get it"}}, InvalidError, "get it"),
        ({"exec": {"command": "echo", "args": ["{}"]}}, InvalidError, "cannot be used"),
        ({"tokenFile": "none"}, InvalidError, "tokenFile cannot be read"),
        ({"client-key-data": "***"}, InvalidError, "client-key cannot be read"),
    ],
    ids=["provider", "refusal", "missing", "junk", "file", "base64"],
)
def test_a_credential_that_cannot_be_had_is_told(
    tmp_path: Path, user: dict[str, Any], kind: type[HeadraceError], said: str
) -> None:
    with pytest.raises(kind, match=said):
        access("", kubeconfig(tmp_path, **user))
    with pytest.raises(NotFoundError, match="there is no kubeconfig"):
        access("", {"KUBECONFIG": "/nowhere"})
