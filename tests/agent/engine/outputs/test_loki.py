"""Lines for Loki: what an answer means, and what is refused. What is sent is compared in `golden/test_wire.py`."""

import pytest

from agent.engine.config import InvalidProperty
from agent.engine.plugin import Result
from agent.engine.record import Batch
from agent.engine.registry import outputs
from tests.agent.engine.conftest import PluginKit
from tests.agent.engine.golden.wire import delivered

BATCH = Batch("app", [1_000_000_000], [{"a": 1}])


@pytest.mark.parametrize(
    ("status", "result"),
    [
        (200, Result.OK),
        (204, Result.OK),
        (205, Result.OK),
        (206, Result.RETRY),
        (302, Result.RETRY),
        (400, Result.ERROR),
        (401, Result.RETRY),
        (404, Result.RETRY),
        (429, Result.RETRY),
        (500, Result.RETRY),
    ],
)
async def test_only_400_is_a_refusal(plugins: PluginKit, status: int, result: Result) -> None:
    results, _ = await delivered("loki", [BATCH], plugins, answers=[{"status": status}])
    assert results == [result]


@pytest.mark.parametrize(
    ("statuses", "result"),
    [
        ((204, 204), Result.OK),
        ((204, 503), Result.RETRY),
        ((503, 204), Result.RETRY),
        ((400, 503), Result.RETRY),
        ((204, 400), Result.ERROR),
    ],
)
async def test_a_chunk_is_tried_again_when_one_of_its_tenants_could_not_be_served(
    plugins: PluginKit, statuses: tuple[int, ...], result: Result
) -> None:
    batch = Batch("app", [1, 2], [{"t": "one"}, {"t": "two"}])
    answers = [{"status": status} for status in statuses]
    results, sent = await delivered("loki", [batch], plugins, answers=answers, tenant_id_key="$t")
    assert results == [result]
    assert [request["headers"]["X-Scope-OrgID"] for request in sent] == ["one", "two"]


async def test_a_tenant_cannot_add_headers(plugins: PluginKit) -> None:
    batch = Batch("app", [1], [{"t": "one\r\nX-Evil: 1"}])
    _, (request,) = await delivered("loki", [batch], plugins, tenant_id_key="$t")
    assert request["headers"]["X-Scope-OrgID"] == "oneX-Evil: 1"


@pytest.mark.parametrize(
    ("properties", "message"),
    [
        ({"uri": "loki"}, "uri.*starts with '/'"),
        ({"labels": "job"}, "labels.*expected name=value"),
        ({"labels": "job="}, "labels.*expected name=value"),
        ({"labels": "$9"}, "labels.*not a record accessor"),
        ({"labels": "a=$b['"}, "labels.*not a record accessor"),
        ({"label_keys": "level"}, "label_keys.*not a record accessor"),
        ({"label_keys": "$a.b"}, r"label_keys.*write a key that has a dot as \$key\['a.b'\]"),
        ({"label_keys": "$TAG"}, "label_keys.*is no key"),
        ({"remove_keys": "a b"}, "remove_keys.*not a record accessor"),
        ({"structured_metadata_map_keys": "a"}, "structured_metadata_map_keys.*not a record accessor"),
        ({"tenant_id_key": "tenant"}, "tenant_id_key.*not a record accessor"),
        ({"drop_single_key": "perhaps"}, "drop_single_key.*expected on, off or raw"),
        ({"bearer_token": "a\nb"}, "'Authorization' is not a header"),
    ],
)
def test_what_cannot_work_is_refused(plugins: PluginKit, properties: dict[str, object], message: str) -> None:
    with pytest.raises(InvalidProperty, match=message):
        plugins.make(outputs, "loki", **properties)
