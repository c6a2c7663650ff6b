"""Every manifest for Kubernetes is one that an API server takes, by its fields; and the check finds what is not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from agent.settings import PROJECTED
from controlplane.identity.service_accounts import AUDIENCE
from tests.kube_schema import faults

ROOT = Path(__file__).parents[1]
FILES = sorted([*ROOT.glob("deploy/kubernetes/*.yaml"), *ROOT.glob("deploy/ingress/*.yaml")])


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_a_manifest_has_only_fields_that_there_are(path: Path) -> None:
    documents = [document for document in yaml.safe_load_all(path.read_text()) if document]
    assert documents
    assert {document["metadata"]["name"]: faults(document) for document in documents} == {
        document["metadata"]["name"]: [] for document in documents
    }


def test_there_are_manifests_to_look_at() -> None:
    assert [path.name for path in FILES] == ["gateway.yaml", "nginx-ingress.yaml", "headrace.yaml", "people.yaml"]


@pytest.mark.parametrize(
    ("more", "fault"),
    [
        ({"dataa": {}}, "dataa: unknown field"),
        ({"data": {"a": 1}}, "data.a: 1 is not str"),
        ({"data": []}, "data: is no object"),
        ({"immutable": 1}, "immutable: 1 is not bool"),
        ({"metadata": {"labels": {}}}, "metadata.name: is missing"),
        ({"kind": "Secrets"}, "no object of a kind that is known"),
    ],
)
def test_what_an_api_server_would_refuse_is_found(more: dict[str, Any], fault: str) -> None:
    document = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "n"}, **more}
    assert faults(document) == [fault]


def test_agents_of_the_same_cluster_enrol_by_the_account_and_audience_that_the_control_plane_asks_about() -> None:
    documents = list(yaml.safe_load_all((ROOT / "deploy/kubernetes/headrace.yaml").read_text()))
    found = {(each["kind"], each["metadata"]["name"]): each for each in documents}
    control = found["Deployment", "cloud-api"]["spec"]["template"]["spec"]
    pod = found["DaemonSet", "headrace-agent"]["spec"]["template"]["spec"]
    arguments = control["containers"][0]["args"]
    allowed = arguments[arguments.index("--kubernetes-agents") + 1]
    assert allowed == f"headrace:{pod['serviceAccountName']}"
    assert ("ServiceAccount", pod["serviceAccountName"]) in found
    (subject,) = found["ClusterRoleBinding", "headrace-auth-delegator"]["subjects"]
    assert (subject["namespace"], subject["name"]) == ("headrace", control["serviceAccountName"])
    (token,) = (
        each["projected"]["sources"][0]["serviceAccountToken"] for each in pod["volumes"] if "projected" in each
    )
    (mount,) = (each for each in pod["containers"][0]["volumeMounts"] if each["name"] == "enrol")
    assert token["audience"] == AUDIENCE
    assert Path(mount["mountPath"]) / token["path"] == PROJECTED
