"""A control plane in a cluster, through a program that says and does what `kubectl` does, and a real listener."""

from __future__ import annotations

import json
import sys
import typing
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from headrace import api
from headrace.cli import main
from headrace.cli.exits import Exit
from headrace.cli.forward import Cluster
from headrace.cli.target import Target
from headrace.errors import UnauthenticatedError, UnavailableError
from headrace.server import Listener, ManagementHandler, ManagementService
from tests.headrace.test_management import Handler

# As kubectl 1.32: its words, where it says them, and a line for each connection; `port` stands for what it connects to.
KUBECTL = """#!{python}
import json, os, signal, sys
plan = json.load(open({plan!r}))
words = sys.argv[1:]
print(json.dumps(words), file=open({asked!r}, "a"))
if "nowhere" in words:
    sys.exit("error: context \\"nowhere\\" does not exist")
if "config" in words:
    print(json.dumps({{"kind": "Config", "users": [{{"name": "u", "user": plan["user"]}}]}}))
elif "port-forward" in words:
    if "port" not in plan:
        sys.exit('Error from server (NotFound): deployments.apps "cloud-api" not found')
    print(f"Forwarding from 127.0.0.1:{{plan['port']}} -> 8401", flush=True)
    print(f"Forwarding from [::1]:{{plan['port']}} -> 8401", flush=True)
    print("Handling connection for 8401\\n" * 10_000, flush=True)
    signal.pause()
"""


class Kubectl:
    """What the stand-in does next, and what was asked of it."""

    def __init__(self, folder: Path) -> None:
        self._plan, self._asked = folder / "plan.json", folder / "asked"
        program = folder / "kubectl"
        program.write_text(KUBECTL.format(python=sys.executable, plan=str(self._plan), asked=str(self._asked)))
        program.chmod(0o755)

    def plan(self, *, port: int | None = None, **user: Any) -> None:
        self._plan.write_text(json.dumps({"user": user, **({"port": port} if port else {})}))

    @property
    def asked(self) -> list[list[str]]:
        return [json.loads(line) for line in self._asked.read_text().splitlines()]


@pytest.fixture
def kubectl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Kubectl:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("HEADRACE_TOKEN", raising=False)
    return Kubectl(tmp_path)


@pytest.fixture
async def port() -> AsyncIterator[int]:
    """Of a management API that takes the token `good`."""
    handler = Handler()
    handler.answers[api.GetStatusRequest] = [api.GetStatusResponse(instance_id="i-1")]
    async with Listener("127.0.0.1:0", [ManagementService(typing.cast("ManagementHandler", handler))]) as listener:
        yield int(listener.address.rpartition(":")[2])


ANYWHERE = Cluster(context="", namespace="headrace")


async def test_a_command_goes_through_a_port_that_is_forwarded_while_it_lasts(kubectl: Kubectl, port: int) -> None:
    kubectl.plan(port=port, token="good")
    async with Target(cluster=Cluster(context="eu-1", namespace="telemetry")).connect() as client:
        assert (await client.get_status()).instance_id == "i-1"
    assert kubectl.asked == [
        ["--context", "eu-1", "config", "view", "--raw", "--minify", "--output", "json"],
        ["--context", "eu-1", "--namespace", "telemetry", "port-forward", "deployment/cloud-api", ":8401"],
    ]


async def test_a_token_that_is_given_or_in_the_environment_comes_before_that_of_the_kubeconfig(
    kubectl: Kubectl, port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    kubectl.plan(port=port, token="of the kubeconfig")
    with pytest.raises(UnauthenticatedError):
        async with Target(cluster=ANYWHERE).connect() as client:
            await client.get_status()
    async with Target(cluster=ANYWHERE, token="good").connect() as client:
        await client.get_status()
    monkeypatch.setenv("HEADRACE_TOKEN", "good")
    async with Target(cluster=ANYWHERE).connect() as client:
        await client.get_status()
    assert ["port-forward" in words for words in kubectl.asked] == [False, True, True, True]


async def test_a_token_is_in_the_kubeconfig_in_a_file_or_made_by_a_program(kubectl: Kubectl, tmp_path: Path) -> None:
    program = tmp_path / "login"
    program.write_text(
        f"#!{sys.executable}\n"
        "import json, os\n"
        "info = json.loads(os.environ['KUBERNETES_EXEC_INFO'])\n"
        "token = f\"{info['apiVersion']} {info['kind']} {os.environ['WHO']}\"\n"
        "print(json.dumps({'kind': 'ExecCredential', 'status': {'token': token}}))\n"
    )
    program.chmod(0o755)
    (tmp_path / "token").write_text("of a file\n")
    for user, token in (
        ({"token": "of the kubeconfig"}, "of the kubeconfig"),
        ({"tokenFile": str(tmp_path / "token")}, "of a file"),
        (
            {
                "exec": {
                    "apiVersion": "client.authentication.k8s.io/v1",
                    "command": str(program),
                    "args": None,
                    "env": [{"name": "WHO", "value": "ann"}],
                }
            },
            "client.authentication.k8s.io/v1 ExecCredential ann",
        ),
    ):
        kubectl.plan(**user)
        assert await ANYWHERE.token() == token


@pytest.mark.parametrize(
    ("user", "why"),
    [
        pytest.param({}, "the kubeconfig has no token for this context", id="nothing"),
        pytest.param({"client-certificate-data": "x"}, "`kubectl create token NAME`", id="a certificate"),
        pytest.param({"tokenFile": "/nowhere/token"}, "token file /nowhere/token cannot be read", id="no file"),
        pytest.param({"exec": {"command": "/nowhere/login"}}, "'/nowhere/login' gave no token", id="no program"),
        pytest.param({"exec": {"command": "/bin/true"}}, "'/bin/true' gave no token", id="a silent program"),
    ],
)
async def test_where_there_is_no_token_it_is_said(kubectl: Kubectl, user: dict[str, Any], why: str) -> None:
    kubectl.plan(**user)
    with pytest.raises(UnauthenticatedError, match=why):
        await ANYWHERE.token()


async def test_what_kubectl_complains_of_is_said(
    kubectl: Kubectl, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kubectl.plan(token="good")
    with pytest.raises(
        UnavailableError, match=r'could not forward a port of deployment/cloud-api: .*"cloud-api" not found'
    ):
        async with ANYWHERE.forwarded():
            pass
    with pytest.raises(
        UnavailableError, match='could not read the kubeconfig: error: context "nowhere" does not exist'
    ):
        await Cluster(context="nowhere", namespace="headrace").token()
    (tmp_path / "kubectl").unlink()
    with pytest.raises(UnavailableError, match="kubectl, which is not on PATH"):
        await ANYWHERE.token()


def test_the_command_line_takes_the_context_before_the_command(
    kubectl: Kubectl, capsys: pytest.CaptureFixture[str]
) -> None:
    kubectl.plan(token="good")
    assert main(["--context", "eu-1", "-n", "telemetry", "status"]) == Exit.UNREACHABLE
    assert "kubectl could not forward a port of deployment/cloud-api: Error from server" in capsys.readouterr().err
    assert kubectl.asked[1][:4] == ["--context", "eu-1", "--namespace", "telemetry"]
    assert main(["--context", "eu-1", "--server", "h:1", "status"]) == Exit.USAGE
