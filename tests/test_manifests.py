"""Every manifest for Kubernetes is one that an API server takes, by its fields; and the check finds what is not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

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
    assert [path.name for path in FILES] == ["gateway.yaml", "nginx-ingress.yaml", "headrace.yaml"]


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
